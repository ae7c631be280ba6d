"""What the tests of held swaps do by hand, with nothing of das: texts by full forwards alone, without a cache."""

import torch


def begun(model, ids):
    """What an answer begins with: the prompt, or a decoder's first token."""
    return torch.full((1, 1), 2) if model.config.is_encoder_decoder else ids


def asked(model, ids, answer):
    """The logits of the token that follows, (rows, vocabulary)."""
    given = {"input_ids": ids, "decoder_input_ids": answer} if model.config.is_encoder_decoder else {"input_ids": answer}
    return model(**given, use_cache=False).logits[:, -1]


def greedy(model, ids, steps):
    """The tokens that follow and the logits of each."""
    answer, logits = begun(model, ids), []
    for _ in range(steps):
        logits.append(asked(model, ids, answer))
        answer = torch.cat([answer, logits[-1].argmax(-1, keepdim=True)], 1)
    return answer, torch.stack(logits)
