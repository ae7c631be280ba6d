"""The task file that `das new` writes."""

TASK = '''"""Which of two numbers is larger? A task to start from: change the model, the words, the hypotheses."""

from das import CausalModel, Hypothesis, Prompt, Range, Shift, Task

# The inputs and what they may be.
NUMBERS = {"left": Range(0, 49), "right": Range(0, 49), "bonus": Range(0, 49)}


# A variable is a function of whole numpy columns; its parents are its parameters. The last one is the output.
def total(left, bonus):
    return left + bonus


def left_wins(total, right):
    return total >= right


add_then_compare = CausalModel(total, left_wins, inputs=NUMBERS)


# Another way to the same answers, to be told apart from the first.
def gap(left, right):
    return right - left


def bonus_covers_gap(bonus, gap):
    return bonus >= gap


subtract_then_compare = CausalModel(gap, bonus_covers_gap, inputs=NUMBERS)

ANSWERS = {True: " yes", False: " no"}

task = Task(
    prompt=Prompt("Ann has {left} and gets {bonus} . Bob has {right} . Does Ann have enough ?", ANSWERS),
    hypotheses={
        "add_first": Hypothesis(add_then_compare, "total"),
        "gap_first": Hypothesis(subtract_then_compare, "gap"),
    },
    positions=("bonus.last", "right.last", "last"),
    shifts={"bob_first": Shift(prompt=Prompt("Bob has {right} . Ann has {left} and gets {bonus} . Enough ?", ANSWERS))},
)
'''
