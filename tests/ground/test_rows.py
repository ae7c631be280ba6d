"""A user's table is read the same from every form, and what is wrong in it is one clear error."""

import json

import pandas as pd
import pytest

from das import DasError
from das.ground.rows import read_rows, splits_of, typed

ROWS = [{"base": 'a "b", c', "label": " yes"}, {"base": "d\ne", "label": " no"}]


def written(path, suffix):
    file, frame = path / f"pairs{suffix}", pd.DataFrame(ROWS)
    match suffix:
        case ".csv":
            frame.to_csv(file, index=False)
        case ".tsv":
            frame.to_csv(file, index=False, sep="\t")
        case ".jsonl":
            file.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
        case ".json":
            file.write_text(json.dumps(ROWS))
        case ".parquet":
            frame.to_parquet(file)
        case "":
            datasets = pytest.importorskip("datasets")
            datasets.disable_progress_bars()
            datasets.Dataset.from_list(ROWS).save_to_disk(str(file))
    return file


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ""])
def test_every_form_holds_the_same_cells(tmp_path, suffix):
    columns = {"base": ['a "b", c', "d\ne"], "label": [" yes", " no"]}
    assert read_rows(written(tmp_path, suffix)).columns == columns


def test_objects_hold_the_same_cells():
    datasets = pytest.importorskip("datasets")
    for data in (ROWS, pd.DataFrame(ROWS), datasets.Dataset.from_list(ROWS)):
        assert read_rows(data).columns["label"] == [" yes", " no"]
    both = datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS))
    assert list(splits_of(both)) == ["train"]


def test_several_splits_may_be_saved_to_one_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)).save_to_disk(str(tmp_path / "all"))
    assert read_rows(splits_of(tmp_path / "all")["train"]).columns["label"] == [" yes", " no"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffbase,label\r\nx,y\r\n".encode())
    assert read_rows(tmp_path / "a.csv").columns == {"base": ["x"], "label": ["y"]}


def test_words_that_others_take_for_nothing_stay_words(tmp_path):
    (tmp_path / "a.csv").write_text("base,label\nNA,None\nnan,null\n")
    assert read_rows(tmp_path / "a.csv").columns == {"base": ["NA", "nan"], "label": ["None", "null"]}


def test_what_is_missing_is_none(tmp_path):
    (tmp_path / "a.csv").write_text("base,label\n,y\n")
    assert read_rows(tmp_path / "a.csv").columns["base"] == [None]
    assert read_rows(pd.DataFrame({"x": [1.0, float("nan")]})).columns["x"] == [1.0, None]
    assert read_rows([{"a": 1}, {"b": 2}]).columns == {"a": [1, None], "b": [None, 2]}


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.csv", b"base,label\nx,y,z\n", "line 2: 3 cells where the header has 2"),
        ("a.csv", b'base,label\n"x"y,z\n', "cannot be read"),
        ("a.csv", b"base,base\nx,y\n", "two columns called 'base'"),
        ("a.csv", b"base,label\n", "holds no row"),
        ("a.csv", b"", "holds no row"),
        ("a.csv", "base,label\ncaf\xe9,y\n".encode("latin-1"), "not written in UTF-8"),
        ("a.jsonl", b'{"base": 1}\n{"base": \n', "line 2 is no JSON"),
        ("a.jsonl", b"[1]\n", r"row 0 is \[1\]: expected a mapping"),
        ("a.json", b'{"base": 1}', "expected a list of objects"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.xlsx", b"", "expected a file that ends in"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_error(tmp_path, name, body, said):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DasError, match=said):
        read_rows(tmp_path / name)


@pytest.mark.parametrize("data", [None, 3, ["x"], "nowhere.csv", [], pd.DataFrame()])
def test_what_is_no_table_is_one_error(data):
    with pytest.raises(DasError):
        read_rows(data)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["1", "-20"], [1, -20]), (["1", "2.50", "1e3"], [1.0, 2.5, 1000.0]), (["True", "false"], [True, False]),
        (["007", "1"], ["007", "1"]), (["1", "x"], ["1", "x"]), (["nan", "1"], ["nan", "1"]), (["1_0"], ["1_0"]),
        ([None, "3"], [None, 3]), (["0", "0.5"], [0.0, 0.5]),
    ],
)  # fmt: skip
def test_texts_are_what_all_of_them_are(cells, found):
    assert typed(cells) == found
    assert [type(v) for v in typed(cells)] == [type(v) for v in found]
