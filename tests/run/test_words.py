"""What a run keeps of its words is what the network reads: the task's rendering of the very pairs, token by token."""

from types import SimpleNamespace

import numpy as np

from das.pairs.dataset import Dataset
from das.pairs.drawer import make_pairs
from das.run.words import _reply, prompt_body, text_table


def pairs_of(task, name, n=30):
    return make_pairs(task.hypotheses[name], task.model.sample(np.random.default_rng(0), 4 * n), n, np.random.default_rng(1))


def test_texts_are_the_prompts_and_the_answers_of_the_pairs_row_by_row(price_tagging, tokenizer):
    pairs = {name: pairs_of(price_tagging, name) for name in ("left_boundary", "left_and_right")}
    table, data = text_table(price_tagging, pairs), Dataset.make(price_tagging, tokenizer, pairs, [])
    assert table["hypothesis"].tolist() == ["left_boundary"] * 30 + ["left_and_right"] * 30
    for name, mine in table.groupby("hypothesis"):
        for role, rows in data.roles(name, pairs[name].sources).items():
            rows_of = {int(identity): row for row, identity in enumerate(data.identities)}
            ids = data.prompts.take([rows_of[int(identity)] for identity in rows])
            read = [tokens[len(tokens) - n :].tolist() for tokens, n in zip(ids.ids, ids.lengths, strict=True)]
            assert tokenizer(mine[role].tolist())["input_ids"] == read
        assert (mine["answer"] == np.where(pairs[name].answer, "Yes", "No")).all()


def test_positions_of_the_example_prompt_lie_where_its_tokens_do(price_tagging, tokenizer):
    positions = ["last-3", "last", "amount", "lower.first"]
    body = prompt_body(price_tagging, tokenizer, positions)
    tokens = price_tagging.tokens_at(tokenizer, positions)
    assert body["tokens"] == tokens
    assert list(body["positions"]) == list(tokens) == ["lower.first", "amount", "last-3", "last"]
    for name, spans in body["positions"].items():
        assert body["text"][spans[0][0] : spans[-1][1]] == tokens[name]
    ids = tokenizer(body["text"])["input_ids"]
    offsets = tokenizer(body["text"], return_offsets_mapping=True)["offset_mapping"]
    assert body["positions"]["last"] == [offsets[len(ids) - 1]]


def test_a_reply_is_an_answer_only_where_it_does_not_go_on():
    known = {(1,): " 1", (1, 2): " 12"}
    tokenizer = SimpleNamespace(decode=lambda tokens: " ".join(map(str, tokens)))
    for tokens, said in [([1, 9], " 1"), ([1, 2, 9], " 12"), ([1, 2, 3], "1 2 3…"), ([1, 3, 9], "1 3 9…"), ([1], " 1")]:
        assert _reply(known, {2, 3}, tokenizer, tokens, "…") == said
