"""Tasks of a user's own texts: what the columns say is what is asked, and what is wrong in them is one clear error."""

import re

import numpy as np
import pandas as pd
import pytest

from das import CausalModel, Choice, DasError, Hypothesis, Prompt, Range, Task, own_task, scalar, with_pairs
from das.causal.columns import row_of
from das.run.settings import Settings
from das.task.files import load_task
from das.task.tokenizer import make_tokenizer

NAMES, CITIES = ["Ann", "Bob", "Cid", "Dan"], ["Rome", "Oslo", "Paris", "Oslo"]
HOME = dict(zip(NAMES, CITIES, strict=True))
TOKENIZER = make_tokenizer([" ".join(NAMES + CITIES) + " lives in of the city . Now , Once"])


def row(base, source, **more):
    texts = {"base": f"{base} lives in the city of", "source": f"{source} lives in the city of"}
    return texts | {"label": f" {HOME[source]}", "base_label": f" {HOME[base]}"} | more


ROWS = [row(a, b) for a in NAMES for b in NAMES if a != b]


def city(name):
    return np.array([HOME[n] for n in name.tolist()])


def said(city):
    return city


def city_of(name):
    return np.char.add("c", name)


city_of.__name__ = "city"


MODEL = CausalModel(city, said, inputs={"name": Choice(NAMES)})
KNOWN = {"city": Hypothesis(MODEL, "city")}


def with_names(rows):
    return [r | {"base.name": r["base"].split()[0], "source.name": r["source"].split()[0]} for r in rows]


def at(task, position):
    """Each base's tokens at a position."""
    base = task.pairs[next(iter(task.pairs))].base
    encoded = task.encode(base, TOKENIZER, [position])
    columns = encoded.positions[position]
    return [TOKENIZER.decode(ids[c]) for ids, c in zip(encoded.ids, columns, strict=True)]


def test_without_a_causal_model_the_pairs_say_their_answers():
    task = own_task(ROWS)
    (hypothesis,) = task.hypotheses.values()
    brought = task.pairs["pairs"]
    assert not hypothesis.model.complete
    swapped = hypothesis.model.interchange(brought.base, brought.sources)[hypothesis.model.output]
    assert swapped.tolist() == [r["label"] for r in ROWS]
    assert hypothesis.model.run(brought.base)["answer"].tolist() == [r["base_label"] for r in ROWS]
    task.check(TOKENIZER)


def test_a_place_is_a_piece_of_the_text_its_characters_or_a_token():
    names = [r["base"].split()[0] for r in ROWS]
    pieces = [r | {"base@who": r["base"].split()[0], "source@who": [0, 3]} for r in ROWS]
    assert at(own_task(pieces), "who") == names
    assert at(own_task([r | {"base@who": 1, "source@who": 1} for r in ROWS]), "who") == names  # after <s>
    assert at(own_task(ROWS, places={"who": 1}), "who") == names
    assert at(own_task(ROWS, places={"where": "the city"}), "where") == ["the city"] * len(ROWS)
    assert at(own_task(ROWS, places={"end": -2}), "end+1") == ["of"] * len(ROWS)
    assert at(own_task(ROWS, places={"where": (4, 9)}), "where.first-1") == names


def test_places_hold_under_words_that_are_put_before():
    task = own_task(ROWS, places={"where": "lives", "third": 3})
    shifted = task.under({"context": "Now , Once .", "where": "before"})
    assert at(shifted, "where") == ["lives"] * len(ROWS)
    with pytest.raises(DasError, match="unknown field in position 'third'"):
        at(shifted, "third")
    with pytest.raises(DasError, match="pairs were brought"):
        own_task(with_names(ROWS), KNOWN, answers=" {}".format).under({"given": {"name": "Ann"}})


def test_with_a_causal_model_what_is_said_of_the_prompts_are_its_inputs():
    task = own_task(with_names(ROWS), KNOWN, answers=" {}".format)
    assert task.model.inputs.names == ["prompt", "name"]
    drawn = task.model.sample(np.random.default_rng(0), 50)
    assert all(str(text).startswith(name) for text, name in zip(drawn["prompt"], drawn["name"], strict=True))
    task.check(TOKENIZER)


def test_labels_that_disagree_with_the_causal_model_are_listed():
    wrong = with_names(ROWS)
    for n in (2, 5, 6, 7, 8, 9):
        wrong[n]["label"] = " Nowhere"
    with pytest.raises(DasError, match="6 of 12 pairs of 'city' disagree") as error:
        own_task(wrong, KNOWN, answers=" {}".format)
    assert str(error.value).count("label ' Nowhere'") == 5
    assert "row 3: label ' Nowhere', by the model ' " in str(error.value)


def test_computed_variables_may_be_said_and_are_held_against_the_model():
    right = [r | {"base.city": HOME[r["base.name"]], "source.city": HOME[r["source.name"]]} for r in with_names(ROWS)]
    assert list(own_task(right, KNOWN, answers=" {}".format).pairs["city"].base) == ["prompt", "name"]
    with pytest.raises(DasError, match="city is 'Bonn', by the model"):
        own_task([*right[:3], right[3] | {"source.city": "Bonn"}], KNOWN, answers=" {}".format)


ONE = ROWS[:1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"source": "x", "label": "y"}], "has no column 'base'"),
        ([{"base": "x", "label": "y"}], "has no column 'source'"),
        ([{"base": "x", "source": "z"}], "has no column 'label'"),
        ([*ONE, ROWS[1] | {"label": None}], "row 2: label is empty"),
        ([*ONE, ROWS[1] | {"label": float("nan")}], "row 2: label is empty"),
        ([*ONE, ROWS[1] | {"label": 7}], "row 2: label is 7: expected a text"),
        ([*ONE, ROWS[1] | {"base": None}], "row 2: base is empty"),
        ([*ONE, {k: v for k, v in ROWS[1].items() if k != "base_label"}], "row 2: base_label is empty"),
        ([r | {"sorce_label": "x"} for r in ROWS], "did you mean 'source_label'"),
        ([r | {"id": 3} for r in ROWS], r"unknown column of the pairs, 'id'\. .* --columns \"{id: null}\" leaves it out"),
        ([*ONE, ONE[0] | {"label": " Rome"}], "another row with the same prompts has ' Oslo'"),
        ([*ONE, ROWS[1] | {"base_label": " Oslo"}], "another row answers the same text ' Rome'"),
        ([r | {"split": "exam"} for r in ROWS], "unknown split in the pairs, row 1"),
        ([r | {"base@who": "Zoe", "source@who": "x"} for r in ROWS], "row 1, base: who is 'Zoe', which is not there"),
        ([r | {"base@who": "", "source@who": "x"} for r in ROWS], "who is '': expected a piece"),
        ([r | {"base@who": [0, 99], "source@who": [0, 3]} for r in ROWS], "0 to 99, but the text has"),
        ([r | {"base@who": [3, 3], "source@who": [0, 3]} for r in ROWS], "3 to 3"),
        ([r | {"base@last": 1, "source@last": 1} for r in ROWS], "names 'last'"),
        ([r | {"base.a b": 1, "source.a b": 1} for r in ROWS], "names 'a b'"),
        ([r | {"base.answer": 1, "source.answer": 1} for r in ROWS], "'answer' is, which has another meaning"),
        ([r | {"base.age": 1} for r in ROWS], "has no column 'source.age'"),
    ],
)
def test_what_is_wrong_in_a_table_is_one_error(rows, said):
    with pytest.raises(DasError, match=said):
        own_task(rows)


def test_a_piece_that_is_there_twice_is_no_place():
    with pytest.raises(DasError, match="is there 2 times"):
        own_task([ROWS[0] | {"base": "of the city of"}], places={"end": "of"})
    assert at(own_task([ROWS[0] | {"base": "Anna lives , Ann of"}], places={"end": "of"}), "end-2") == [","]


def test_columns_may_have_other_names():
    rows = [{"clean": r["base"], "corrupt": r["source"], "target": r["label"], "id": 3} for r in ROWS]
    names = {"clean": "base", "corrupt": "source", "target": "label", "id": None}
    assert (
        own_task(rows, columns=names).pairs["pairs"].print
        == own_task([{k: v for k, v in r.items() if k != "base_label"} for r in ROWS]).pairs["pairs"].print
    )
    with pytest.raises(DasError, match="unknown column of the pairs, 'cleen'"):
        own_task(rows, columns={"cleen": "base"})
    with pytest.raises(DasError, match="two columns have one name"):
        own_task(rows, columns=names | {"corrupt": "base"})


def test_without_a_causal_model_rows_that_are_all_one_hypothesis_need_no_other():
    named = [r | {"hypothesis": "sum"} for r in ROWS]
    assert own_task(named).pairs["pairs"].print == own_task(ROWS).pairs["pairs"].print
    with pytest.raises(DasError, match="hypothesis 'sum': expected one of pairs"):
        own_task([*named[1:], ROWS[0] | {"hypothesis": "other"}])


def test_labels_that_make_their_prompts_last_word_longer_are_refused_before_anything_is_read():
    bare = [r | {key: r[key].strip() for key in ("label", "base_label")} for r in ROWS]
    with pytest.raises(DasError, match=r"row 1: behind its prompt the label makes one word, '.*city ofOslo': .* ' Oslo'"):
        own_task(bare)
    assert own_task(bare, answers=str).prompt.answer_texts(np.array(["Oslo"])) == ["Oslo"]
    own_task([r | {"base": r["base"] + "\n"} for r in bare])
    years = [{"base": "from 1732 to 17", "source": "from 1790 to 17", "label": "91"}]
    own_task([years[0] | {"base": f"{year} to 17"} for year in range(1700, 1709)])


def test_a_table_may_be_a_task_with_other_names_of_columns(tmp_path):
    rows = pd.DataFrame([{"clean": r["base"], "corrupt": r["source"], "target": r["label"], "id": 3} for r in ROWS])
    rows.to_csv(tmp_path / "facts.csv", index=False)
    names = {"clean": "base", "corrupt": "source", "target": "label", "id": None}
    task = Settings(str(tmp_path / "facts.csv"), "x", columns=names).asked()
    assert task.pairs["pairs"].print == own_task(tmp_path / "facts.csv", columns=names).pairs["pairs"].print
    settings = pd.DataFrame([SETTING]).rename(columns={"base.a": "first"})
    settings.to_json(tmp_path / "sums.jsonl", orient="records", lines=True)
    fixed = load_task(DRAWN, pairs={"test": str(tmp_path / "sums.jsonl")}, columns={"first": "base.a"})
    assert fixed.pairs["sum"].base["a"].tolist() == [1]
    with pytest.raises(DasError, match="there is none: neither pairs nor the task"):
        load_task(DRAWN, columns={"first": "base.a"})


def test_labels_that_the_tokenizer_cannot_tell_apart_are_refused():
    with pytest.raises(DasError, match="unknown to the tokenizer"):
        own_task([r | {"label": " Atlantis"} for r in ROWS]).check(TOKENIZER)
    one_text = [r | {"label": r["label"].replace("Rome", "Oslo ")} for r in ROWS]
    with pytest.raises(DasError, match="the same token"):
        own_task([{k: v for k, v in r.items() if k != "base_label"} for r in one_text]).check(TOKENIZER)


def test_each_of_several_variables_has_a_source_or_keeps_its_value():
    rows = [{"base": "Ann Bob", "source:first": "Cid Dan", "source:second": None, "label": " Rome"},
            {"base": "Ann Bob", "source:first": "Cid Dan", "source:second": "Dan Cid", "label": " Oslo"}]  # fmt: skip
    brought = own_task(rows).pairs["pairs"]
    assert brought.swapped.tolist() == [[True, False], [True, True]]
    assert str(brought.sources["second"]["prompt"][0]) == "Ann Bob"
    with pytest.raises(DasError, match="row 1: no variable has a source"):
        own_task([rows[0] | {"source:first": None}])


def total(a, b):
    return a + b


def more(total, c):
    return total > c


SUM = CausalModel(total, more, inputs={"a": Range(0, 9), "b": Range(0, 9), "c": Range(0, 9)})
DRAWN = Task(Prompt("{a} and {b} or {c} ?", {True: " yes", False: " no"}), {"sum": Hypothesis(SUM, "total")})
SETTING = {"base.a": 1, "base.b": 2, "base.c": 4, "source.a": 5, "source.b": 5, "source.c": 0}


def test_pairs_for_a_template_are_settings_held_against_it():
    task = with_pairs(DRAWN, {"test": [SETTING, SETTING | {"base": "1 and 2 or 4 ?", "source": None, "label": None}][:1]})
    assert row_of(task.pairs["sum"].base, 0) == {"a": 1, "b": 2, "c": 4}
    with_pairs(DRAWN, [SETTING | {"base": "1 and 2 or 4 ?", "label": " yes", "base_label": " no"}])
    for wrong, said in [
        ({"base": "1 and 3 or 4 ?"}, "but the task writes '1 and 2 or 4 ?'"),
        ({"label": " no"}, "disagree with its causal model"),
        ({"base.a": 10}, "input 'a' is 10"),
        ({"base.d": 1}, "did you mean 'base"),
        ({"base.total": 4}, "total is 4, by the model 3"),
    ]:
        with pytest.raises(DasError, match=re.escape(said)):
            with_pairs(DRAWN, [SETTING | wrong | ({"source.total": 10} if "base.total" in wrong else {})])


def test_a_csv_file_says_numbers_and_texts_as_the_domains_have_them(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(SETTING) + "\n" + ",".join(map(str, SETTING.values())) + "\n")
    assert with_pairs(DRAWN, tmp_path / "a.csv").pairs["sum"].base["a"].tolist() == [1]
    digits = CausalModel(city_of, said, inputs={"name": Choice(["1", "2"])})
    (tmp_path / "b.csv").write_text("base,source,label,base.name,source.name\n1 x,2 x, c2,1,2\n")
    task = own_task(tmp_path / "b.csv", {"h": Hypothesis(digits, "city")}, answers=" {}".format)
    assert task.pairs["h"].base["name"].tolist() == ["1"]


def first(pair):
    return pair[0]


def is_red(first):
    return first == "red"


def written(rows, path):
    match path.suffix:
        case ".csv":
            rows.to_csv(path, index=False)
        case ".jsonl":
            rows.to_json(path, orient="records", lines=True)
        case _:
            rows.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_values_that_are_tuples_or_vectors_come_from_files_as_the_inputs_have_them(suffix, tmp_path):
    pairs = CausalModel(scalar(first), is_red, inputs={"pair": Choice([("red", 1), ("blue", 2)])})
    task = Task(Prompt("{pair[0]} {pair[1]} ?", {True: " yes", False: " no"}), {"h": Hypothesis(pairs, "first")})
    rows = pd.DataFrame([{"base.pair": ["red", 1], "source.pair": ["blue", 2]}], dtype=object)
    if suffix == "parquet":
        rows = rows.map(lambda cell: [cell[0], str(cell[1])])  # a column of one kind
        pairs = CausalModel(scalar(first), is_red, inputs={"pair": Choice([("red", "1"), ("blue", "2")])})
        task = Task(task.prompt, {"h": Hypothesis(pairs, "first")})
    brought = with_pairs(task, written(rows, tmp_path / f"a.{suffix}")).pairs["h"]
    assert brought.base["pair"].tolist() == [pairs.inputs.domains["pair"].options[0]]
    assert isinstance(brought.base["pair"][0], tuple)
    assert task.render(brought.base).names == ["red 1 ?"]

    equal = load_task("equality")
    drawn = {x: equal.model.inputs.domains[x].sample(np.random.default_rng(1), 2) for x in equal.model.inputs.names}
    sides = {
        f"{side}.{x}": [column[row].tolist()] for row, side in enumerate(("base", "source")) for x, column in drawn.items()
    }
    rows = pd.DataFrame(sides).assign(hypothesis=next(iter(equal.hypotheses)))
    (brought,) = with_pairs(equal, written(rows, tmp_path / f"b.{suffix}")).pairs.values()
    assert all(np.allclose(brought.base[x], column[:1]) for x, column in drawn.items())


@pytest.mark.parametrize("cell", ["red", "red, 1", "3", "('red', 3)"])
def test_a_cell_that_is_no_such_tuple_is_one_error(cell, tmp_path):
    pairs = CausalModel(scalar(first), is_red, inputs={"pair": Choice([("red", 1), ("blue", 2)])})
    task = Task(Prompt("{pair[0]} ?", {True: " yes", False: " no"}), {"h": Hypothesis(pairs, "first")})
    path = written(pd.DataFrame([{"base.pair": cell, "source.pair": "('blue', 2)"}]), tmp_path / "a.csv")
    with pytest.raises(DasError, match=r"input 'pair' is .*: expected"):
        with_pairs(task, path)


def test_whose_pairs_a_row_is_has_to_be_said_if_there_are_several_hypotheses():
    both = Task(DRAWN.prompt, DRAWN.hypotheses | {"whole": Hypothesis(SUM, "a")})
    with pytest.raises(DasError, match="add a column `hypothesis`"):
        with_pairs(both, [SETTING])
    assert list(with_pairs(both, [SETTING | {"hypothesis": "whole"}]).pairs) == ["whole"]
    with pytest.raises(DasError, match="hypothesis 'hole': expected one of sum, whole"):
        with_pairs(both, [SETTING | {"hypothesis": "hole"}])
