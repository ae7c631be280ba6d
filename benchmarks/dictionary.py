"""A sparse autoencoder on SmolLM2-135M (after `make smollm2`): how good it is, and how long it takes.

    python benchmarks/dictionary.py --json benchmarks/results/smollm2/dictionary.json

The text is what is at hand on every machine: the docstrings of numpy and scipy. Beside it a random dictionary of
the same size and sparsity, on the same held-out vectors. Minutes are those of the clock, and of all processors together.
"""

from __future__ import annotations

import ast
import importlib.util
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gauge
import torch

from das.interchange.engine import HookEngine
from das.interchange.sae import quality
from das.interchange.saelens import read
from das.network.lm import LM
from das.progress import console, silent
from das.run.activations import Activations
from das.run.fit_sae import fit_sae
from das.run.reading import reading

PACKAGES = "numpy", "scipy"

SHORT = 200
"""Shorter docstrings say little."""


def docstrings(package: str) -> Iterator[str]:
    """Those of a package's modules, classes and functions, in the order of its files."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef
        yield from (text for node in ast.walk(tree) if isinstance(node, kinds) and (text := ast.get_docstring(node)))


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--lm", default="smollm2-135m")
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--kind", default="batchtopk")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to keep the dictionary")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with TemporaryDirectory() as folder:
        text = Path(folder) / "docstrings.txt"
        text.write_text("\n\n".join(t for package in PACKAGES for t in docstrings(package) if len(t) >= SHORT), "utf-8")
        row = measured(text, options, options.out or Path(folder) / "dictionary")
    gauge.table([row])
    gauge.write_json(options.json, [row])


def measured(text: Path, options: Any, out: Path) -> dict[str, Any]:
    """Trains a dictionary and weighs it against a random one."""
    settings = {name: getattr(options, name) for name in ("latents", "tokens", "steps", "batch", "kind")}
    began, worked, lm = time.monotonic(), _worked(), LM.load(options.lm)
    found = fit_sae(options.layer, lm, text, out, report=console(), **settings)
    minutes, all_minutes = (time.monotonic() - began) / 60, (_worked() - worked) / 60
    held = Activations(
        HookEngine(lm), ("block_output", options.layer), reading(text, lm.tokenizer, options.tokens, 128, 0), silent
    ).held
    random = asdict(quality(read(out).sae.scrambled(held), held))
    worth = {name: found.about[name] for name in ("explained", "l0", "dead", "left_out", "vectors", "training_tokens")}
    beside = {f"random_{name}": random[name] for name in ("explained", "l0")}
    return {
        "lm": options.lm,
        "layer": options.layer,
        **settings,
        **worth,
        **beside,
        "minutes": minutes,
        "processor": all_minutes,
    }


def _worked() -> float:
    """Seconds of all processors that this process took."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
