"""Replied: what a network answered to pairs, token by token, as far as the answers that were read after the prompts tell."""

from __future__ import annotations

import torch
from torch import Tensor

from das.interchange.measures import Measure
from das.interchange.reply import Reply
from das.task.answers import Real

READ = ("label", "other")


def replied(reply: Reply) -> Tensor:
    """The likeliest tokens, one after another: (copies, pairs, steps), −1 from where on no answer that was read begins like
    them. Of answers that are numbers, the numbers: (copies, pairs, size)."""
    if isinstance(reply.answers, Real):
        return reply.logits
    said = torch.cat([reply.of(role).argmax(-1) for role in READ], 2)  # (copies, pairs, slots, steps)
    begun = torch.cat([torch.from_numpy(reply.answers.beginnings(reply.numbers[role])) for role in READ], 1).to(said.device)
    tokens, alike = [said[:, :, 0, 0]], torch.ones_like(said[..., 0], dtype=torch.bool)
    for step in range(1, said.shape[3]):
        alike &= begun[:, :, step - 1] == tokens[-1][..., None]
        next_ = said[..., step].gather(2, alike.int().argmax(2, keepdim=True))[..., 0]
        tokens.append(torch.where(alike.any(2), next_, -1))
    return torch.stack(tokens, -1)


REPLIED = Measure(replied, "what was answered", READ)
"""It stands among measures so that it is taken in one pass with them; its values are tokens, not numbers."""
