"""Pieces: a text cut where its tokens are, so that what belongs to a token can be shown at its characters."""

from __future__ import annotations

from dataclasses import dataclass

from das.task.tokenizer import Tokenizer


@dataclass(frozen=True)
class Piece:
    """A token as it stands in a text.

    text: its characters, with what stands before them and is no token's; of several tokens that share a character (its bytes)
    the first has it, and the others have none. name: what the tokenizer calls it. special: whether the tokenizer put it there,
    such as `<s>`.
    """

    token: int
    name: str
    text: str
    special: bool

    @property
    def part(self) -> bool:
        """Whether it is but a further byte of a character that the token before it has."""
        return not self.text and not self.special


def pieces(tokenizer: Tokenizer, text: str) -> list[Piece]:
    """The tokens of a text; their texts joined are the text. The tokenizer must be a fast one, which gives offsets."""
    found = tokenizer([text], return_offsets_mapping=True)
    ids, spans = found["input_ids"][0], found["offset_mapping"][0]
    names, special = tokenizer.convert_ids_to_tokens(ids), set(tokenizer.all_special_ids)
    ends = [end for start, end in spans if end > start]
    texts, done = [], 0
    for start, end in spans:
        stop = (len(text) if ends and end == ends[-1] else end) if end > start else done
        texts.append(text[done : max(done, stop)])
        done = max(done, stop)
    put = [not piece and token in special for token, piece in zip(ids, texts, strict=True)]
    return [Piece(*each) for each in zip(ids, names, texts, put, strict=True)]
