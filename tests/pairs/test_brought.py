"""Pairs that are brought are cut so that no prompt leaks, and what was drawn and written out is read as the same pairs."""

import numpy as np
import pytest

from das import CausalModel, DasError, Hypothesis, Prompt, Range, Task, own_task, with_pairs
from das.pairs.brought import pairs_of, split
from das.pairs.dataset import Dataset
from das.pairs.origin import Drawn, Given, origins
from das.pairs.written import pair_rows
from das.task.brought import PROMPT
from das.task.identity import identities
from das.task.tokenizer import make_tokenizer
from das.task.variant import BASE


def total(a, b):
    return a + b


def more(total, c):
    return total > c


SUM = CausalModel(total, more, inputs={"a": Range(0, 9), "b": Range(0, 9), "c": Range(0, 18)})
TASK = Task(
    Prompt("Ann has {a} and gets {b} , Bob {c} ?", {True: " yes", False: " no"}),
    {"sum": Hypothesis(SUM, "total"), "both": Hypothesis(SUM, "a", "b")}, positions=("b", "last"),
)  # fmt: skip
TOKENIZER = make_tokenizer([" ".join(map(str, range(19))) + " Ann has and gets , Bob ? yes no"], whole_numbers=True)
SIZES = {"train": 60, "val": 20, "test": 40}
NAMES = ["sum", "both"]


def identity(task):
    return lambda table: identities(task.variant(BASE), task.hypotheses.values(), TOKENIZER, table)


def pairs_in(task, names=NAMES, sizes=SIZES):
    found = origins(task, names, sizes, 0, {"flip": 0.5, "keep": 0.5}, identity(task))
    return found, {part: {name: some.pairs(name) for name in names} for part, some in found.items()}


def data_of(task, pairs):
    return {part: Dataset.make(task, TOKENIZER, some, ["b", "last"]) for part, some in pairs.items()}


def written(rows, path, suffix):
    match suffix:
        case "csv":
            rows.to_csv(path, index=False)
        case "jsonl":
            rows.to_json(path, orient="records", lines=True, double_precision=15)
        case "parquet":
            rows.to_parquet(path)
        case "dataset":
            datasets = pytest.importorskip("datasets")
            datasets.disable_progress_bars()
            datasets.Dataset.from_pandas(rows, preserve_index=False).save_to_disk(str(path))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "dataset"])
@pytest.mark.parametrize("own", [True, False])
def test_drawn_pairs_written_out_are_the_same_rows_of_the_same_prompts(tmp_path, suffix, own):
    _, drawn = pairs_in(TASK)
    path = tmp_path / f"pairs.{suffix}"
    written(pair_rows(TASK, drawn), path, suffix)
    task = own_task(path, TASK.hypotheses, answers=TASK.prompt.answers) if own else with_pairs(TASK, path)
    found, again = pairs_in(task)
    assert all(isinstance(some, Given) for some in found.values())
    for part, mine in data_of(task, again).items():
        theirs = data_of(TASK, drawn)[part]
        assert np.array_equal(mine.prompts.ids, theirs.prompts.ids)
        assert all(np.array_equal(mine.prompts.positions[p], theirs.prompts.positions[p]) for p in ("b", "last"))
        for name in NAMES:
            for field in ("base", "sources", "label", "base_label", "source_label", "classes"):
                assert np.array_equal(getattr(mine.pairs[name], field), getattr(theirs.pairs[name], field)), field
            assert np.array_equal(again[part][name].swapped, drawn[part][name].swapped)
            assert again[part][name].family.tolist() == drawn[part][name].family.tolist()


def test_test_pairs_may_be_fixed_while_the_others_are_drawn():
    _, drawn = pairs_in(TASK)
    task = with_pairs(TASK, {"test": pair_rows(TASK, {"test": drawn["test"]}).drop(columns="split")})
    found, pairs = pairs_in(task)
    assert [type(some) for some in found.values()] == [Drawn, Drawn, Given]
    for name in NAMES:
        assert {k: v.tolist() for k, v in pairs["test"][name].base.items()} == {
            k: v.tolist() for k, v in drawn["test"][name].base.items()
        }
        test = {n for p in pairs["test"].values() for side in (p.base, *p.sources.values()) for n in identity(TASK)(side)}
        for part in ("train", "val"):
            assert not test & {
                n for side in (pairs[part][name].base, *pairs[part][name].sources.values()) for n in identity(TASK)(side)
            }


def texts(n, tied):
    """Pairs of texts, each with its reverse; tied: all share one source."""
    both = [(f"Ann has {i}", f"Bob {i}" if not tied else "Bob") for i in range(n)]
    every = both if tied else both + [(b, a) for a, b in both]
    return [{"base": a, "source": b, "label": " yes"} for a, b in every]


def parts_of(task, sizes=SIZES):
    return split(task.pairs["pairs"], sizes, identity(task), np.random.default_rng(0))


@pytest.mark.parametrize("tied", [False, True])
def test_no_base_is_in_two_splits_and_no_prompt_where_that_can_be(tied):
    parts = parts_of(own_task(texts(19, tied)))
    assert sum(map(len, parts.values())) == len(texts(19, tied))
    seen = {part: {str(t) for t in (some.base if tied else some.prompts)[PROMPT]} for part, some in parts.items()}
    assert all(len(texts) for texts in seen.values())
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))
    assert len(seen["train"]) > len(seen["test"]) > len(seen["val"])


def test_splits_that_the_rows_say_are_kept_and_a_base_belongs_to_one():
    rows = [r | {"split": s} for r, s in zip(texts(6, True), ["train", "train", "train", "dev", "test", "test"], strict=True)]
    parts = parts_of(own_task(rows))
    assert {name: len(some) for name, some in parts.items()} == {"train": 3, "val": 1, "test": 2}
    assert [str(t) for t in parts["train"].base[PROMPT]] == [r["base"] for r in rows[:3]]
    with pytest.raises(
        DasError, match=r"row 7: the base prompt of this test pair is also that of a train pair \(the pairs, row 1\)"
    ):
        parts_of(own_task([*rows, rows[0] | {"split": "test", "source": "Bob 3"}]))


def test_validation_pairs_are_cut_from_training_ones_where_none_are_named():
    parts = parts_of(own_task({"train": texts(20, True), "test": [{"base": "Bob has 1", "source": "Bob", "label": " no"}]}))
    assert set(parts) == {"train", "val", "test"}
    assert len(parts["train"]) + len(parts["val"]) == 20
    assert not {str(t) for t in parts["train"].base[PROMPT]} & {str(t) for t in parts["val"].base[PROMPT]}


def test_what_cannot_be_cut_or_drawn_is_one_error():
    with pytest.raises(DasError, match="2 base prompts: at least 3"):
        parts_of(own_task(texts(2, True)))
    task = own_task({"train": texts(9, True)})
    with pytest.raises(DasError, match="no split 'test'"):
        origins(task, ["pairs"], SIZES, 0, {"flip": 1}, identity(task))


def test_answers_that_nobody_says_are_not_there():
    task = own_task(texts(5, True))
    pairs = pairs_of(task.hypotheses["pairs"], task.pairs["pairs"])
    assert pairs.base_answer is None
    assert pairs.flips is None
    assert pairs.classes is None
    with pytest.raises(DasError, match="base_label"):
        task.prompt.answer_texts(task.model.run(pairs.base)["answer"])
