"""(a + b) × c: does the network add first? The alternative, that it carries a × c, is wrong by construction."""

from das import CausalModel, Hypothesis, Inputs, Prompt, Range, Shift, Task

NUMBERS = Inputs({"a": Range(1, 9), "b": Range(1, 9), "c": Range(1, 9)})


def total(a, b):
    return a + b


def product(total, c):
    return total * c


def left_part(a, c):
    return a * c


def expanded(left_part, b, c):
    return left_part + b * c


add_first = CausalModel(total, product, inputs=NUMBERS)
multiply_first = CausalModel(left_part, expanded, inputs=NUMBERS)

task = Task(
    prompt=Prompt("Compute ({a} + {b}) * {c} =", str),
    hypotheses={"sum": Hypothesis(add_first, "total"), "left_product": Hypothesis(multiply_first, "left_part")},
    positions=("b.last", "b+1", "c-1", "c.last", "last"),
    shifts={
        "irrelevant_context": Shift(prompt=Prompt("It rains today. Compute ({a} + {b}) * {c} =", str)),
        "words": Shift(prompt=Prompt("Compute ({a} plus {b}) times {c} =", str)),
    },
)
