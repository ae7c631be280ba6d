"""Ending: where an answer ends that another one begins with, as ` 1` begins ` 12`.

Nothing in such an answer's own tokens says that it is whole, but the token behind it does: a network that writes ` 1` and then
` +` has answered 1, one that writes ` 1` and then `2` has not. So where some answer begins another, an answer is given only if
the likeliest token behind it is none by which answers go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from das.task.answers import Spelling
from das.task.tokenizer import Tokenizer

Texts = tuple[str, ...]


def going_on(forms: Mapping[Texts, tuple[Spelling, ...]], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens by which answers go on, ascending; none where no answer begins another. forms: each answer's, by its texts.

    These are all that stand behind the first token of some answer, and all that would make the last number or word of one
    longer: `3` and `27` behind a digit, `ark` behind ` New`. The second kind goes by the tokenizer's whole vocabulary, so that
    it does not hang on which answers there happen to be; it knows words of scripts that have capitals.
    """
    owner = {form: texts for texts, mine in forms.items() for form in mine}
    if not any(owner.get(start, texts) != texts for form, texts in owner.items() for start in _starts(form)):
        return ()
    behind = {token for form in owner for token in form[1:]}
    last = {_kind(text[-1]) for texts in forms for text in texts} - {""}
    return tuple(sorted(behind.union(*(_growing(tokenizer, kind) for kind in last))))


def _starts(form: Spelling) -> Iterable[Spelling]:
    return (form[:end] for end in range(1, len(form)))


def _kind(character: str) -> str:
    """`1` for a digit, `a` for a letter that may be a capital, nothing for others."""
    return "1" if character.isdecimal() else "a" if character.lower() != character.upper() else ""


@lru_cache(maxsize=8)
def _growing(tokenizer: Tokenizer, kind: str) -> frozenset[int]:
    """The tokens that make a number (`1`), or a word (`a`), longer."""
    last = tokenizer(kind, add_special_tokens=False)["input_ids"][-1]
    how = {"clean_up_tokenization_spaces": False}
    start, pairs = tokenizer.decode([last], **how), [[last, token] for token in range(len(tokenizer))]
    more = (text[len(start) :] if text.startswith(start) else "" for text in tokenizer.batch_decode(pairs, **how))
    return frozenset(token for token, text in enumerate(more) if text and _kind(text[0]) == kind)
