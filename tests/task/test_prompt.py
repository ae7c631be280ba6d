"""Prompts: text, where every field lies in it, and the token that answers."""

import re

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from das import CausalModel, DasError, Hypothesis, Prompt, Range, Task
from das.task.answers import answer_token, answer_tokens
from das.task.encoded import Encoded, encode
from das.task.positions import Position, expand_positions
from das.task.texts import Texts

# "<s> costs between 5 . 4 9 and 1 2 . 0 0 dollars" with one token per digit and mark
TEMPLATE = "costs between {lower:.2f} and {upper:.2f} dollars"
PRICES = {"lower": np.array([5.49, 0.05, 10.0]), "upper": np.array([12.0, 9.99, 11.5])}
TOKENS = [
    ["<s>", "costs", "between", *"5.49", "and", *"12.00", "dollars"],
    ["<s>", "costs", "between", *"0.05", "and", *"9.99", "dollars"],
    ["<s>", "costs", "between", *"10.00", "and", *"11.50", "dollars"],
]
WIDTH = 15


@pytest.fixture
def rendered():
    return Prompt(TEMPLATE, {}).render(PRICES)


# --- text ---

TEXTS = {
    "format": ("{x:.2f} or {n:03d}", {"x": [1.5], "n": [7]}, "1.50 or 007", {"x": (0, 4), "n": (8, 11)}),
    "twice": ("{n} and {n}", {"n": [12]}, "12 and 12", {"n": (0, 2)}),
    "literal braces": ("{{{w}}} {{n}}", {"w": ["a"]}, "{a} {n}", {"w": (1, 2)}),
    "conversion": ("say {w!r}", {"w": ["a"]}, "say 'a'", {"w": (4, 7)}),
    "no field": ("hello", {"w": ["a"]}, "hello", {}),
    "unused column": ("{w}", {"w": ["a"], "z": [1]}, "a", {"w": (0, 1)}),
    "truth": ("{b}", {"b": [True]}, "True", {"b": (0, 4)}),
    "not ascii": ("café {w}", {"w": ["naïve"]}, "café naïve", {"w": (5, 10)}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_rendering_writes_the_text_and_knows_where_each_field_lies(name):
    template, columns, text, spans = TEXTS[name]
    rendered = Prompt(template, {}).render({name: np.array(column) for name, column in columns.items()})
    assert rendered.texts == [text]
    assert {name: tuple(span[0]) for name, span in rendered.spans.items()} == spans


def test_each_row_has_its_own_span(rendered):
    assert rendered.texts[0] == "costs between 5.49 and 12.00 dollars"
    for name, column in PRICES.items():
        cut = [text[a:b] for text, (a, b) in zip(rendered.texts, rendered.spans[name], strict=True)]
        assert cut == [f"{value:.2f}" for value in column]


def test_fields_are_listed_once_in_their_order():
    assert Prompt("{b} {a} {b:.1f}", {}).fields == ["b", "a"]


# --- positions, against indices counted by hand (0 is the first token of all) ---

POSITIONS = {
    "first": [[0], [0], [0]],
    "first+2": [[2], [2], [2]],
    "last": [[13], [12], [14]],
    "last-6": [[7], [6], [8]],
    "lower.first": [[3], [3], [3]],
    "lower.last": [[6], [6], [7]],
    "lower+1": [[7], [7], [8]],
    "lower-1": [[2], [2], [2]],
    "lower.first+1": [[4], [4], [4]],
    "lower.last-1": [[5], [5], [6]],
    "upper.first": [[8], [8], [9]],
    "upper.last": [[12], [11], [13]],
    "upper+1": [[13], [12], [14]],
    "upper - 1": [[7], [7], [8]],
}


@pytest.mark.parametrize("spec", POSITIONS)
def test_position_names_the_token_counted_by_hand(spec, rendered, tokenizer):
    encoded = encode(rendered, tokenizer, [spec])
    padding = WIDTH - encoded.lengths[:, None]
    assert (encoded.positions[spec] - padding).tolist() == POSITIONS[spec]


def test_tokens_are_padded_on_the_left(rendered, tokenizer):
    encoded = encode(rendered, tokenizer)
    assert encoded.ids.shape == (3, WIDTH)
    assert encoded.lengths.tolist() == [len(tokens) for tokens in TOKENS]
    for ids, tokens in zip(encoded.ids.tolist(), TOKENS, strict=True):
        assert tokenizer.convert_ids_to_tokens(ids) == ["<pad>"] * (WIDTH - len(tokens)) + tokens


def test_a_bare_field_is_its_whole_span(tokenizer):
    same = Prompt("{lower:.1f} {upper:.2f}", {}).render({"lower": np.array([5.4, 1.0]), "upper": np.array([12.0, 9.99])})
    assert encode(same, tokenizer, ["lower"]).positions["lower"].tolist() == [[1, 2, 3], [2, 3, 4]]


RANGES = {
    "last-2..last": ["last-2", "last-1", "last"],
    "first..first+1": ["first", "first+1"],
    "amount.last-1..amount.last+1": ["amount.last-1", "amount.last", "amount.last+1"],
    "amount+1..amount+2": ["amount.last+1", "amount.last+2"],
    "amount-2..amount-1": ["amount.first-2", "amount.first-1"],
    "last..last": ["last"],
    "amount": ["amount"],
}


@pytest.mark.parametrize("spec", RANGES)
def test_ranges_are_written_out(spec):
    assert expand_positions([spec]) == RANGES[spec]


def test_overlapping_ranges_name_each_position_once():
    assert expand_positions(["last-1..last", "last", "last-2..last-1"]) == ["last-1", "last", "last-2"]


@pytest.mark.parametrize("spec", ["last-2..last", "lower.first..lower.first+2"])
def test_every_position_of_a_range_resolves_to_the_next_token(spec, rendered, tokenizer):
    encoded = encode(rendered, tokenizer, expand_positions([spec]))
    columns = np.concatenate(list(encoded.positions.values()), axis=1)
    assert (np.diff(columns, axis=1) == 1).all()


@pytest.mark.parametrize("name", ["lower", "upper"])
def test_the_field_before_and_after_its_span_hold_other_tokens(name, rendered, tokenizer):
    encoded = encode(rendered, tokenizer, [f"{name}-1", f"{name}.first", f"{name}.last", f"{name}+1"])
    before, first, last, after = encoded.positions.values()
    assert (first - before == 1).all()
    assert (after - last == 1).all()
    assert (last - first + 1).ravel().tolist() == [len(f"{value:.2f}") for value in PRICES[name]]


@pytest.fixture(scope="module")
def byte_pairs():
    """A tokenizer whose tokens take the space before a word along, as most networks' do, and have no first token."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    texts = [f"costs between {n / 100:.2f} and {n / 50:.2f} dollars naïve café" for n in range(999)]
    trained.train_from_iterator(texts, vocab_size=400, min_frequency=1, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token="Ġ", padding_side="left")


WORDS = {"w": np.array(["5.49", "café", "naïve dollars", "$12", "日本"]), "v": np.array(["12", "a", "1.2", "é", "costs"])}


@pytest.mark.parametrize("template", ["between {w} and {v} dollars", "{v}{w}, {v}", "\n{w}\n\n{v}"])
def test_a_fields_tokens_are_those_that_hold_its_characters(template, byte_pairs):
    rendered = Prompt(template, {}).render(WORDS)
    encoded = encode(rendered, byte_pairs, ["w.first", "w.last", "v.first", "v.last"])
    for name in ("w", "v"):
        first, last = (encoded.positions[f"{name}.{end}"][:, 0] for end in ("first", "last"))
        for row, value in enumerate(WORDS[name]):
            ids = encoded.ids[row]
            assert value in byte_pairs.decode(ids[first[row] : last[row] + 1])
            assert value not in byte_pairs.decode(ids[first[row] + 1 : last[row] + 1])
            assert value not in byte_pairs.decode(ids[first[row] : last[row]])


# --- batches ---


def tokens_named(encoded):
    return {name: np.take_along_axis(encoded.ids, at, 1).tolist() for name, at in encoded.positions.items()}


NAMES = ["first", "lower.first", "lower.last", "upper-1", "last"]


@pytest.mark.parametrize("extra", [0, 1, 7])
def test_padding_keeps_every_position_on_its_token(extra, rendered, tokenizer):
    encoded = encode(rendered, tokenizer, NAMES)
    padded = encoded.padded(WIDTH + extra, pad=3)
    assert padded.ids.shape == (3, WIDTH + extra)
    assert (padded.ids[:, :extra] == 3).all()
    assert padded.lengths.tolist() == encoded.lengths.tolist()
    assert tokens_named(padded) == tokens_named(encoded)


def test_rows_taken_and_put_together_again_keep_every_position_on_its_token(rendered, tokenizer):
    encoded = encode(rendered, tokenizer, NAMES)
    one, two = Prompt(TEMPLATE, {}), {name: column[1:2] for name, column in PRICES.items()}
    short = encode(one.render(two), tokenizer, [*NAMES, "upper.last"])
    joined = Encoded.concat([encoded.take([2, 0]), short])
    assert (len(joined), joined.ids.shape[1]) == (3, WIDTH)
    assert list(joined.positions) == NAMES
    wanted = {name: [rows[2], rows[0], rows[1]] for name, rows in tokens_named(encoded).items()}
    assert tokens_named(joined) == wanted
    assert joined.lengths.tolist() == encoded.lengths[[2, 0, 1]].tolist()


@pytest.mark.parametrize(
    ("lower", "upper", "prefix"),
    [([5.49, 0.05, 10.0], [1.0] * 3, 3), ([5.49, 5.48], [1.0] * 2, 6), ([1.0, 1.0], [2.0, 2.0], 13), ([5.0], [5.0], 13)],
)
def test_common_prefix_counts_the_first_tokens_that_all_share(lower, upper, prefix, tokenizer):
    rendered = Prompt(TEMPLATE, {}).render({"lower": np.array(lower), "upper": np.array(upper)})
    assert encode(rendered, tokenizer).common_prefix() == prefix


# --- what people see ---


def test_show_marks_the_tokens_and_lists_them(rendered, tokenizer):
    text = rendered.take(1).show(tokenizer, ["lower.first", "upper", "last"])
    assert text.splitlines() == [
        "costs between ⟦0⟧.05 and ⟦9⟧⟦.⟧⟦9⟧⟦9⟧ ⟦dollars⟧",
        "",
        "  lower.first  '0'",
        "  upper        '9' '.' '9' '9'",
        "  last         'dollars'",
    ]


def test_tokens_at_gives_texts_in_the_order_of_the_prompt(rendered, tokenizer):
    found = rendered.at(tokenizer, ["last", "lower", "first+1", "upper.last"])
    assert list(found.items()) == [("first+1", "costs"), ("lower", "5.49"), ("upper.last", "0"), ("last", "dollars")]


# --- answers ---


def test_answer_is_looked_up_or_computed():
    assert Prompt("", {True: "Yes", False: "No"}).answer_texts(np.array([True, False, True])) == ["Yes", "No", "Yes"]
    assert Prompt("", lambda value: f" {value}").answer_texts(np.array([3, 12])) == [" 3", " 12"]


@pytest.mark.parametrize("answer", ["Yes", " Yes", "\nYes"])
def test_answer_token_is_the_first_after_the_prompt(answer, tokenizer):
    word = "\n" if answer.startswith("\n") else "Yes"
    assert tokenizer.convert_ids_to_tokens(answer_token(tokenizer, "dollars :", answer)) == word


def test_answer_tokens_follow_the_rows(tokenizer):
    tokens = answer_tokens(tokenizer, "Response :", ["No", "Yes", "No"])
    assert tokenizer.convert_ids_to_tokens(tokens.tolist()) == ["No", "Yes", "No"]


def colliding(answers):
    def above(amount):
        return amount > 3

    def told(above):
        return above

    model = CausalModel(above, told, inputs={"amount": Range(0, 9)})
    return Task(Prompt("costs {amount} :", answers), {"above": Hypothesis(model, "above")})


# --- errors ---

TEMPLATES = {
    "open brace": ("{lower", "cannot be read", "write a literal brace as {{ or }}"),
    "no name": ("costs {}", "field {} of the template has no name"),
    "number": ("costs {0}", "field {0} of the template has no name"),
    "attribute": ("costs {lower.real}", "field {lower.real} of the template has no name"),
    "unknown field": ("costs {lowr}", "unknown field of the template 'lowr': did you mean 'lower'?"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_that_cannot_be_written_says_why(name):
    template, *words = TEMPLATES[name]
    with pytest.raises(DasError) as caught:
        Prompt(template, {}).render(PRICES)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("template", ["{w:.2f}", "{w!x}", "{w:{v}}"])
def test_format_that_does_not_fit_the_value_is_an_error_for_people(template):
    with pytest.raises(DasError, match="w"):
        Prompt(template, {}).render(WORDS)


@pytest.mark.parametrize(
    "spec", ["", "1x", "amount.middle", "amount+", "amount+x", "amount.first.last", "amount-1.5", "amount..last"]
)
def test_position_that_cannot_be_read_says_how_to_write_one(spec):
    with pytest.raises(DasError, match=re.escape(f"position {spec!r} cannot be read: write amount.last, amount+1, last-6")):
        Position.parse(spec)


@pytest.mark.parametrize("spec", ["last.first", "first.last"])
def test_an_end_of_the_prompt_has_no_ends_of_its_own(spec):
    with pytest.raises(DasError, match=f"position '{spec}'"):
        Position.parse(spec)


@pytest.mark.parametrize("name", ["first", "last"])
def test_field_with_the_name_of_a_position_is_refused(name, tokenizer):
    with pytest.raises(DasError, match=f"'{name}'"):
        encode(Prompt(f"costs {{{name}}} dollars", {}).render({name: np.array([5])}), tokenizer, [f"{name}.last"])


@pytest.mark.parametrize("spec", ["last..last-2", "first..last", "amount..amount+1", "amount.first..amount.last", "a..b"])
def test_range_between_two_places_says_how_to_write_one(spec):
    with pytest.raises(DasError, match=re.escape(f"range {spec!r}: expected two offsets from the same place")):
        expand_positions([spec])


OUTSIDE = {
    "last+1": "lies outside the prompt of 14 tokens: 'costs between 5.49",
    "first-1": "lies outside the prompt of 14 tokens",
    "lower-4": "lies outside the prompt of 14 tokens",
    "upper+2": "lies outside the prompt of 14 tokens",
    "last-13": "lies outside the prompt of 13 tokens: 'costs between 0.05",
    "lower": "covers 4 to 5 tokens: choose one, such as lower.first or lower.last",
    "lowr.last": "'lowr': did you mean 'lower'? Known: lower, upper, first, last",
    "amount": "unknown field in position 'amount'",
}


@pytest.mark.parametrize("spec", OUTSIDE)
def test_position_that_is_not_in_the_prompts_says_where_it_fails(spec, rendered, tokenizer):
    with pytest.raises(DasError, match=re.escape(OUTSIDE[spec])):
        encode(rendered, tokenizer, [spec])


def test_position_inside_the_shortest_row_is_no_error(rendered, tokenizer):
    assert encode(rendered, tokenizer, ["last-12"]).positions["last-12"].tolist() == [[2], [2], [2]]


@pytest.mark.parametrize(
    "template",
    [
        "between {w} and",
        "bet{w}ween",
    ],
)
def test_field_that_vanishes_is_an_error(template, tokenizer):
    rendered = Prompt(template, {}).render({"w": np.array(["dollars", ""])})
    with pytest.raises(DasError, match="field 'w' vanishes: it has no token in"):
        encode(rendered, tokenizer, ["w.first"])


def test_tokenizer_without_offsets_is_refused(rendered):
    with pytest.raises(DasError, match="no character offsets: load a fast tokenizer"):
        encode(rendered, object())


def begun_with_unknown():
    """A tokenizer such as OPT's: one token begins every text, ends it, and stands for what is unknown."""
    words = Tokenizer(models.WordLevel({"</s>": 0, "a": 1, "b": 2}, unk_token="</s>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="</s> $A </s>", special_tokens=[("</s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=words, **dict.fromkeys(("unk_token", "bos_token", "pad_token"), "</s>"))


def test_only_a_token_in_the_place_of_a_word_is_unknown():
    Texts(["a b", "b a"], {}).check(begun_with_unknown(), ["last"])
    with pytest.raises(DasError, match="10% of the prompts' tokens are unknown to the tokenizer, such as 'dogs'"):
        Texts(["a b a", "b dogs a"], {}).check(begun_with_unknown(), ["last"])


@pytest.mark.parametrize(("text", "answer"), [("it costs dol", "lars"), ("Response:", ""), ("Response:", " ")])
def test_answer_that_begins_no_token_of_its_own_is_an_error(text, answer, tokenizer):
    with pytest.raises(DasError, match=re.escape(f"answer {answer!r} does not begin a new token after the prompt's end")):
        answer_token(tokenizer, text, answer)


def test_output_without_an_answer_names_the_known_ones():
    with pytest.raises(DasError, match=r"'maybe'.* Known: yes, no"):
        Prompt("", {"yes": "Yes", "no": "No"}).answer_texts(np.array(["yes", "maybe"]))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({True: "Yes", False: " Yes"}, "answers 'Yes' and ' Yes' are the same token(s) to the tokenizer"),
        ({True: "Yes", False: "Nope"}, "answer 'Nope' is unknown to the tokenizer"),
        ({True: "Yes", False: ""}, "answer '' does not begin a new token"),
        ({True: "Yes"}, "unknown answer: the output value has no text, 'False'"),
    ],
)
def test_answers_that_cannot_be_told_apart_fail_the_check(answers, words, tokenizer):
    with pytest.raises(DasError, match=re.escape(words)):
        colliding(answers).check(tokenizer)
