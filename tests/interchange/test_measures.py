"""Every measure against its definition, computed here from probabilities token by token."""

import re

import numpy as np
import pytest
import torch

from das.errors import DasError
from das.interchange.measures import LOSSES, MEASURES, loss_of, measures_of
from das.interchange.reply import Reply
from das.task.answers import OneToken, Real, Spelled

COPIES, PAIRS, VOCABULARY = 2, 5, 11
LABEL, OTHER = np.array([3, 1, 4, 1, 5]), np.array([2, 7, 1, 8, 2])


def one_token():
    logits = torch.randn(COPIES, PAIRS, VOCABULARY, generator=torch.Generator().manual_seed(0), requires_grad=True)
    return Reply(logits, OneToken(), {"label": LABEL, "other": OTHER})


def test_measures_of_one_token_are_those_of_the_softmax():
    reply = one_token()
    reply.logits = reply.logits.detach()
    probability = reply.logits.softmax(-1)
    for copy in range(COPIES):
        for pair, (label, other) in enumerate(zip(LABEL, OTHER, strict=True)):
            at = copy, pair
            row = reply.logits[at]
            assert MEASURES["probability"].of(reply)[at] == pytest.approx(float(probability[at][label]), abs=1e-6)
            assert MEASURES["logit_difference"].of(reply)[at] == pytest.approx(float(row[label] - row[other]), abs=1e-5)
            place = sorted(row.tolist(), reverse=True).index(float(row[label])) + 1
            assert MEASURES["answer_rank"].of(reply)[at] == place
            assert reply.right()[at] == (place == 1)
            others = torch.cat([row[:label], row[label + 1 :]])
            assert float(reply.lead()[at]) == pytest.approx(float(row[label] - others.max()), abs=1e-6)
    assert torch.equal(LOSSES["logit_difference"].of(reply), -MEASURES["logit_difference"].of(reply))


def test_the_default_loss_of_one_token_is_torchs_cross_entropy_to_the_bit():
    reply = one_token()
    labels = torch.from_numpy(LABEL).expand(COPIES, -1)
    mine = LOSSES["cross_entropy"].of(reply)
    theirs = torch.nn.functional.cross_entropy(reply.logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
    assert torch.equal(mine, theirs)
    slopes = [torch.autograd.grad(loss.sum(), reply.logits)[0] for loss in (mine, theirs)]
    assert torch.equal(*slopes)


FORMS = (((1, 2), (3,)), ((1, 4, 5),), ((6, 7), (8, 9), (8, 2, 2)))


def spelled():
    answers = Spelled(FORMS)
    shape = (COPIES, 3 * answers.slots * 2, answers.steps, VOCABULARY)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return answers, Reply(logits, answers, {"label": np.array([0, 1, 2]), "other": np.array([1, 2, 0])})


@pytest.mark.parametrize("role", ["label", "other"])
def test_measures_of_several_forms_and_tokens_are_the_products_of_their_softmaxes(role):
    answers, reply = spelled()
    rows = reply.logits.view(COPIES, 3, 2, answers.slots, answers.steps, VOCABULARY)[:, :, ("label", "other").index(role)]
    for copy in range(COPIES):
        for pair, number in enumerate(reply.numbers[role]):
            wanted, ranks = 0.0, []
            for form in FORMS[number]:
                begun = [tuple(b) for b in answers.beginnings(np.array([number]))[0].tolist()]
                slot = next(i for i, b in enumerate(begun) if b[: len(form) - 1] == form[:-1])
                each = rows[copy, pair, slot]
                wanted += float(torch.stack([each[t].softmax(-1)[token] for t, token in enumerate(form)]).prod())
                ranks.append(max(1 + int((each[t] > each[t][token]).sum()) for t, token in enumerate(form)))
            assert float(reply.log_probability(role)[copy, pair].exp()) == pytest.approx(wanted, rel=1e-4)
            assert float(reply.rank(role)[copy, pair]) == min(ranks)
            assert reply.right(role)[copy, pair] == (min(ranks) == 1) == bool(reply.lead(role)[copy, pair] > 0)


def test_where_answers_must_end_an_end_is_any_token_by_which_they_do_not_go_on():
    forms, on = (((1,),), ((1, 2),), ((3, 4), (5,))), (2, 4, 7)
    answers = Spelled(forms, on)
    assert answers.steps == 3
    others = [token for token in range(VOCABULARY) if token not in on]
    logits = torch.randn(COPIES, 3 * answers.slots, 3, VOCABULARY, generator=torch.Generator().manual_seed(1))
    logits[0, 0, 0, 1] = logits[0, 0, 1, 6] = logits[1, 0, 0, 1] = logits[1, 0, 1, 7] = 9.0  # ends, and goes on
    reply = Reply(logits.requires_grad_(), answers, {"label": np.array([0, 1, 2])})
    rows = logits.detach().view(COPIES, 3, answers.slots, 3, VOCABULARY)
    for copy in range(COPIES):
        for pair in range(3):
            wanted, ranks = 0.0, []
            for form in forms[pair]:
                begun = [tuple(b) for b in answers.beginnings(np.array([pair]))[0].tolist()]
                slot = next(i for i, b in enumerate(begun) if b[: len(form)] == form)
                each = rows[copy, pair, slot]
                end = each[len(form)]
                chance = [each[t].softmax(-1)[token] for t, token in enumerate(form)] + [end.softmax(-1)[others].sum()]
                wanted += float(torch.stack(chance).prod())
                places = [1 + int((each[t] > each[t][token]).sum()) for t, token in enumerate(form)]
                ranks.append(max(*places, 1 + int((end > end[others].max()).sum())))
            assert float(reply.log_probability()[copy, pair].detach().exp()) == pytest.approx(wanted, rel=1e-4)
            assert float(reply.rank()[copy, pair]) == min(ranks)
            assert reply.right()[copy, pair] == (min(ranks) == 1) == bool(reply.lead()[copy, pair] > 0)
    assert reply.right()[:, 0].tolist() == [True, False]
    assert bool(torch.autograd.grad(reply.loss().sum(), logits)[0].isfinite().all())
    assert bool(torch.autograd.grad(reply.lead().sum(), logits)[0].isfinite().all())


def test_answers_that_are_numbers_are_right_within_the_tolerance_and_have_a_squared_error():
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    reply = Reply(torch.tensor([[[0.1, 0.95], [2.0, 3.3]]]), Real(values, 0.2), {"label": np.array([0, 1])})
    assert reply.right().tolist() == [[True, False]]
    torch.testing.assert_close(reply.lead(), torch.tensor([[0.1, -0.1]]))
    torch.testing.assert_close(reply.loss(), torch.tensor([[(0.01 + 0.0025) / 2, 0.09 / 2]]))
    with pytest.raises(DasError, match="have no tokens"):
        MEASURES["probability"].of(reply)


def test_functions_of_the_tasks_are_measures_if_they_give_a_number_for_each_copy_and_pair():
    own = {"top": lambda reply: reply.logits.amax(-1), "flat": lambda reply: reply.logits.sum(), "iia": lambda reply: 0}
    reply = one_token()
    assert torch.equal(measures_of(["top"], own)["top"].of(reply), reply.logits.amax(-1))
    assert torch.equal(loss_of("top", own).of(reply), reply.logits.amax(-1))
    with pytest.raises(DasError, match=re.escape("measure 'flat' gave (): expected a tensor of shape (2, 5)")):
        measures_of(["flat"], own)["flat"].of(reply)
    with pytest.raises(DasError, match="use for something else"):
        measures_of(["iia"], own)
    with pytest.raises(DasError, match="probability"):
        measures_of(["probabilty"], own)
    with pytest.raises(DasError, match="cross_entropy"):
        loss_of("cross_entropi", own)
