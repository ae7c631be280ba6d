"""What tests share: one thread, the price-tagging task and a tokenizer of its words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from das.draw import gallery, shifts
from das.run.fit import corpus
from das.task.files import load_task
from das.task.task import Task
from das.task.tokenizer import Tokenizer, make_tokenizer

ROOT = Path(__file__).parents[1]


SLOW = "run", "planted", "transfer", "find", "judge"
"""Wings whose tests come first after the notebooks, so that no process is left alone with a long one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (not item.name.startswith("test_a_notebook_runs"), item.path.parent.name not in SLOW))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keeps tests in one process that share something made once for their file, by a fixture or a cached function; all others
    go wherever there is time."""
    fixtures, module = getattr(item, "_fixtureinfo", None), getattr(item, "module", None)
    shared = fixtures.name2fixturedefs.values() if fixtures else ()
    cached = (
        any(hasattr(f, "cache_info") and f.__module__ == module.__name__ for f in vars(module).values()) if module else False
    )
    if cached or any(each[-1].scope == "module" for each in shared if each):
        item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))


SMALL = {
    "train_pairs": 200, "val_pairs": 60, "test_pairs": 60, "steps": 40, "check_every": 40, "chosen_seeds": 2, "closed_forms": [], "logger": "none",
}  # fmt: skip
"""Settings of a run that is there to be used, not to be good."""


DRAWN = {module: module.figures for module in (gallery, shifts)}
"""What draws the files of a run."""


@pytest.fixture(scope="module", autouse=True)
def undrawn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs draw no files, which takes longer than a small training, but in modules that say `DRAWS`."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWS", False):
            for module in DRAWN:
                patch.setattr(module, "figures", lambda _: [])
        yield


@pytest.fixture
def drawing(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a test files are drawn all the same."""
    for module, figures in DRAWN.items():
        monkeypatch.setattr(module, "figures", figures)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def price_tagging() -> Task:
    return load_task(ROOT / "tasks" / "price_tagging.py")


@pytest.fixture(scope="session")
def tokenizer(price_tagging: Task) -> Tokenizer:
    """Knows the words and digits of every prompt of price tagging."""
    return make_tokenizer(corpus(price_tagging))


def byte_tokenizer() -> Tokenizer:
    """A token for every byte, as byte-level tokenizers write them, with one that begins each text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(["<s>", *letters])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<s>")
