"""Copying: a first name comes again; which surname followed it? Induction, "A B … A" → "B" (arXiv 2209.11895).

A network may carry to the end where in the list the name stood, or the surname itself. That it ranks the names by the alphabet
is wrong by construction.
"""

import numpy as np

from das import CausalModel, Choice, Context, Given, Hypothesis, Inputs, Prompt, Reword, Shift, Task

NAMES = "Alice Anna Dan David Emma Frank Henry James Jane Kate Mark Mary Michael Paul Robert Sarah".split()
NEW_NAMES = "Adam Ben Edward Emily Eric George Helen Lisa Lucy Maria Martha Max".split()
SURNAMES = "Adams Allen Baker Brown Carter Clark Cooper Davis Hill Lewis Miller Moore Nelson Parker Smith Taylor".split()

LISTS = Inputs(
    dict.fromkeys(["a", "b", "c", "again"], Choice(NAMES)) | dict.fromkeys(["x", "y", "z"], Choice(SURNAMES)),
    where=[
        lambda a, b, c: (a != b) & (a != c) & (b != c),
        lambda x, y, z: (x != y) & (x != z) & (y != z),
        lambda a, b, c, again: (again == a) | (again == b) | (again == c),
    ],
)


def nth(n, *columns):
    return np.stack(columns)[n, np.arange(len(n))]


def place(again, a, b):
    return np.where(again == a, 0, np.where(again == b, 1, 2))


def surname_there(place, x, y, z):
    return nth(place, x, y, z)


pointer = CausalModel(place, surname_there, inputs=LISTS)


def surname(again, a, b, x, y, z):
    return nth(place(again, a, b), x, y, z)


def say(surname):
    return surname


token = CausalModel(surname, say, inputs=LISTS)


def rank(again, a, b, c):
    return (again > a) * 1 + (again > b) + (again > c)


def surname_of_rank(rank, a, b, c, x, y, z):
    return nth(nth(rank, *np.argsort(np.stack([a, b, c]), axis=0)), x, y, z)


alphabet = CausalModel(rank, surname_of_rank, inputs=LISTS)

SURNAME = " {}".format

task = Task(
    prompt=Prompt("Guests\n1. {a} {x}\n2. {b} {y}\n3. {c} {z}\n\nWinner\n1. {again}", SURNAME),
    hypotheses={
        "place": Hypothesis(pointer, "place"),
        "surname": Hypothesis(token, "surname"),
        "alphabet": Hypothesis(alphabet, "rank"),
    },
    positions=("x.last", "y.last", "z.last", "again-1", "again.last"),
    shifts={
        "new_names": Given(dict.fromkeys(["a", "b", "c", "again"], NEW_NAMES)),
        "context": Context("The party was a great success.\n", where="before"),
        "judge": Reword({"Winner": "Judge"}),
        "one_line": Shift(prompt=Prompt("Guests: {a} {x}, {b} {y}, {c} {z}. Winner: {again}", SURNAME)),
    },
)
