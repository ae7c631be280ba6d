"""Indirect objects: whom is it given to? The task of "Interpretability in the Wild" (arXiv 2211.00593).

Of two names one comes again, as the giver; the other receives. A network may carry to the end which of the two it was, the
first or the second (ABA or ABB), or the receiver's name itself. That it goes by the alphabet is wrong by construction.
"""

import numpy as np

from das import CausalModel, Choice, Context, Given, Hypothesis, Inputs, Prompt, Reword, Shift, Task

NAMES = "Alice Anna Dan David Emma Frank Henry Jane Kate Laura Linda Mark Mary Michael Paul Robert Sarah Susan".split()
NEW_NAMES = "Adam Ben Edward Emily Eric George Helen Lisa Lucy Maria Martha Max Oliver Ruth Sam".split()

SCENES = Inputs(
    {"one": Choice(NAMES), "two": Choice(NAMES), "giver": Choice(NAMES)}
    | {"place": Choice("garden park restaurant school station store".split())}
    | {"gift": Choice("ball book drink gift key letter".split())},
    where=[lambda one, two: one != two, lambda one, two, giver: (giver == one) | (giver == two)],
)


def first_again(giver, one):
    return giver == one


def other_place(first_again, one, two):
    return np.where(first_again, two, one)


position = CausalModel(first_again, other_place, inputs=SCENES)


def receiver(giver, one, two):
    return np.where(giver == one, two, one)


def say(receiver):
    return receiver


token = CausalModel(receiver, say, inputs=SCENES)


def earlier_again(giver, one, two):
    return giver == np.where(one < two, one, two)


def other_in_alphabet(earlier_again, one, two):
    return np.where(earlier_again == (one < two), two, one)


alphabet = CausalModel(earlier_again, other_in_alphabet, inputs=SCENES)

NAME = " {}".format

task = Task(
    prompt=Prompt("When {one} and {two} went to the {place}, {giver} gave a {gift} to", NAME),
    hypotheses={
        "position": Hypothesis(position, "first_again"),
        "token": Hypothesis(token, "receiver"),
        "alphabet": Hypothesis(alphabet, "earlier_again"),
    },
    positions=("one.last", "two.last", "giver.last", "giver+1", "last"),
    shifts={
        "new_names": Given({"one": NEW_NAMES, "two": NEW_NAMES, "giver": NEW_NAMES}),
        "context": Context("Here is a short story."),
        "handed": Reword({"gave": "handed"}),
        "after": Shift(prompt=Prompt("After {one} and {two} had been at the {place}, {giver} handed a {gift} to", NAME)),
    },
)
