"""What tests share: one thread, the price-tagging task and a tokenizer of its words."""

from pathlib import Path

import pytest
import torch

from das.run.fit import corpus
from das.task.prompt import Tokenizer
from das.task.task import Task, load_task
from das.task.tokenizer import make_tokenizer

ROOT = Path(__file__).parents[1]


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
