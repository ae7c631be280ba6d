"""Price tagging: is the amount inside the bracket? The task of "Interpretability at Scale" (arXiv 2305.08809).

Four hypotheses about how a network decides, the paper's prompt shifts, and sibling instructions for networks that are
trained from scratch: one that only ever answers the main question has no reason to compute its parts.
"""

import numpy as np

from das import CausalModel, Context, Given, Hypothesis, Inputs, Prompt, Range, Reword, Shift, Task

# --- the prices: width ~ U(2.50, 7.50), lower ~ U(0.05, 9.95 - width), amount ~ U(0.01, 9.99), in cents ---


def draw_prices(rng, n):
    width = rng.integers(250, 751, n)
    lower = rng.integers(5, 996 - width)
    return {"lower": lower / 100, "upper": (lower + width) / 100, "amount": rng.integers(1, 1000, n) / 100}


def wide_enough(lower, upper):
    width = np.round(100 * (upper - lower))
    return (width >= 250) & (width <= 750)


def draw_close_calls(rng, n):
    """Every second amount near an edge of its bracket, at all scales from a cent to two dollars."""
    prices = draw_prices(rng, n)
    edge = np.where(rng.random(n) < 0.5, prices["lower"], prices["upper"])
    distance = np.round(10 ** rng.uniform(0, 2.3, n)) - rng.integers(0, 2, n)
    near = np.round(100 * edge + rng.choice([-1, 1], n) * distance).clip(1, 999) / 100
    return prices | {"amount": np.where(rng.random(n) < 0.5, near, prices["amount"])}


RANGES = {"lower": Range(0.05, 7.45, 0.01), "upper": Range(2.55, 9.95, 0.01), "amount": Range(0.01, 9.99, 0.01)}
PRICES = Inputs(RANGES, where=wide_enough, draw=draw_prices)
CLOSE_CALLS = Inputs(RANGES, where=wide_enough, draw=draw_close_calls)

# --- four ways to decide ---


def above_lower(amount, lower):
    return amount >= lower


def below_upper(amount, upper):
    return amount <= upper


def in_bracket(above_lower, below_upper):
    return above_lower & below_upper


boundaries = CausalModel(above_lower, below_upper, in_bracket, inputs=PRICES)


def left_side(above_lower, amount, upper):
    return above_lower & (amount <= upper)


left = CausalModel(above_lower, left_side, inputs=PRICES)


def midpoint(lower, upper):
    return (lower + upper) / 2


def half_width(lower, upper):
    return (upper - lower) / 2


def near_midpoint(amount, midpoint, half_width):
    return np.abs(amount - midpoint) <= half_width + 1e-6


distance = CausalModel(midpoint, half_width, near_midpoint, inputs=PRICES)


def bracket(lower, upper):
    return np.stack([lower, upper], axis=-1)


def within(amount, bracket):
    return (bracket[:, 0] <= amount) & (amount <= bracket[:, 1])


identity = CausalModel(bracket, within, inputs=PRICES)

# --- the words ---

ALPACA = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{{amount:.2f}} dollars\n\n### Response:\n"
)
BETWEEN = "costs between {lower:.2f} and {upper:.2f} dollars"
YES_NO = ({True: "Yes", False: "No"}, "Please say yes only if it {}, otherwise no.")
TRUE_FALSE = ({True: "True", False: "False"}, "Please say true only if it {}, otherwise false.")
SIDE = (
    {"below": "Below", "inside": "Inside", "above": "Above"},
    "Please say below or above only if it {}, otherwise inside.",
)


def ask(condition, style=YES_NO):
    answers, instruction = style
    return Prompt(ALPACA.format(instruction=instruction.format(condition)), answers)


# --- sibling questions, with close calls, to learn from; `side` is why a network has to keep the two boundaries apart ---


def in_bracket_of(amount, lower, upper):
    return (amount >= lower) & (amount <= upper)


def outside(amount, lower, upper):
    return (amount < lower) | (amount > upper)


def at_least(amount, lower):
    return amount >= lower


def at_most(amount, upper):
    return amount <= upper


def side(amount, lower, upper):
    return np.where(amount < lower, "below", np.where(amount > upper, "above", "inside"))


NOT_BETWEEN = "does not cost between {lower:.2f} and {upper:.2f} dollars"
CONDITIONS = {
    "between": (in_bracket_of, BETWEEN),
    "not_between": (outside, NOT_BETWEEN),
    "at_least": (at_least, "costs at least {lower:.2f} dollars"),
    "at_most": (at_most, "costs at most {upper:.2f} dollars"),
}


def sibling(rule, prompt):
    return Shift(prompt, CLOSE_CALLS, CausalModel(rule, inputs=PRICES))


def siblings(style, suffix=""):
    return {name + suffix: sibling(rule, ask(condition, style)) for name, (rule, condition) in CONDITIONS.items()}


task = Task(
    prompt=ask(BETWEEN),
    hypotheses={
        "left_boundary": Hypothesis(left, "above_lower"),
        "left_and_right": Hypothesis(boundaries, "above_lower", "below_upper"),
        "midpoint": Hypothesis(distance, "midpoint"),
        "bracket": Hypothesis(identity, "bracket"),
    },
    positions=("last-12..last",),
    shifts={
        "new_brackets": Given({"lower": 5.49, "upper": 8.49}),
        "new_brackets_unseen": Given({"lower": 2.51, "upper": 5.51}),
        "irrelevant_context": Context("Pricing tag game!"),
        "irrelevant_frogs": Context("Fruitarian Frogs May Be Doing Flowers a Favor."),
        "true_false": Reword({"say yes": "say true", "otherwise no": "otherwise false"}, {True: "True", False: "False"}),
    },
    siblings=siblings(YES_NO) | siblings(TRUE_FALSE, "_true_false") | {"side": sibling(side, ask(NOT_BETWEEN, SIDE))},
)
