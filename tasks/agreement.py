"""Number agreement: "The keys near the cabinet" → " are". The task of Linzen et al. (arXiv 1611.01368).

The verb takes the number of the subject, not that of the noun nearest to it. That a network goes by the nearest noun, and by
whether the subject differs from it, gives the same answers and is wrong by construction.
"""

import numpy as np

from das import CausalModel, Choice, Context, Hypothesis, Inputs, Prompt, Reword, Shift, Task


def both_numbers(nouns):
    return Choice([noun + ending for noun in nouns.split() for ending in ("", "s")])


SUBJECTS = both_numbers("bird boy car doctor dog farmer girl horse key lamp letter picture student teacher")
OTHERS = both_numbers("bridge cabinet chair door garden house road table tree wall window")
PHRASES = Inputs({"subject": SUBJECTS, "where": Choice(["behind", "beside", "near"]), "nearest": OTHERS})


def many(noun):
    return np.strings.endswith(noun, "s")


def subject_number(subject):
    return many(subject)


def verb(subject_number):
    return np.where(subject_number, "are", "is")


by_subject = CausalModel(subject_number, verb, inputs=PHRASES)


def nearest_number(nearest):
    return many(nearest)


def mixed(subject, nearest):
    return many(subject) != many(nearest)


def verb_of_nearest(nearest_number, mixed):
    return np.where(nearest_number != mixed, "are", "is")


by_nearest = CausalModel(nearest_number, mixed, verb_of_nearest, inputs=PHRASES)

IS_ARE = {"is": " is", "are": " are"}

task = Task(
    # The two sentences make a form of "to be" the next word; without them a preposition may follow, or another verb.
    prompt=Prompt("The flower in the vases is here. The men on the bus are here. The {subject} {where} the {nearest}", IS_ARE),
    hypotheses={
        "subject": Hypothesis(by_subject, "subject_number"),
        "nearest": Hypothesis(by_nearest, "nearest_number"),
    },
    positions=("subject-1", "subject.last", "where.last", "nearest-1", "nearest.last"),
    shifts={
        "past": Reword({" is here": " was here", " are here": " were here"}, {"is": " was", "are": " were"}),
        "context": Context("It rained all day."),
        "clause": Shift(prompt=Prompt("We know that the {subject} {where} the {nearest}", IS_ARE)),
    },
)
