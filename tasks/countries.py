"""Facts about countries: capital, language, continent. After RAVEL (arXiv 2402.17700): are a country's attributes held apart?

At the country a network cannot know yet which attribute will be asked. Swapping the part that holds the capital must change the
answer where the capital is asked, and nothing where the continent is; swapping the country as a whole changes all of them. That
half of the alphabet and place in that half stand for the country is wrong by construction.
"""

from itertools import permutations

import numpy as np

from das import CausalModel, Choice, Context, Given, Hypothesis, Inputs, Prompt, Shift, Task, scalar

ATTRIBUTES = ("capital", "language", "continent")
FACTS = {
    "Algeria": ("Algiers", "Arabic", "Africa"),
    "Argentina": ("Buenos Aires", "Spanish", "South America"),
    "Canada": ("Ottawa", "English", "North America"),
    "Chile": ("Santiago", "Spanish", "South America"),
    "China": ("Beijing", "Chinese", "Asia"),
    "Egypt": ("Cairo", "Arabic", "Africa"),
    "France": ("Paris", "French", "Europe"),
    "Germany": ("Berlin", "German", "Europe"),
    "Greece": ("Athens", "Greek", "Europe"),
    "Hungary": ("Budapest", "Hungarian", "Europe"),
    "Iceland": ("Reykjavik", "Icelandic", "Europe"),
    "Indonesia": ("Jakarta", "Indonesian", "Asia"),
    "Italy": ("Rome", "Italian", "Europe"),
    "Mexico": ("Mexico City", "Spanish", "North America"),
    "Nepal": ("Kathmandu", "Nepali", "Asia"),
    "Nigeria": ("Abuja", "English", "Africa"),
    "Portugal": ("Lisbon", "Portuguese", "Europe"),
    "Russia": ("Moscow", "Russian", "Europe"),
    "Somalia": ("Mogadishu", "Somali", "Africa"),
    "Spain": ("Madrid", "Spanish", "Europe"),
    "Sweden": ("Stockholm", "Swedish", "Europe"),
    "Thailand": ("Bangkok", "Thai", "Asia"),
    "Uganda": ("Kampala", "English", "Africa"),
    "Venezuela": ("Caracas", "Spanish", "South America"),
}
SHOWN = {
    "Japan": ("Tokyo", "Japanese", "Asia"),
    "Kenya": ("Nairobi", "Swahili", "Africa"),
    "Peru": ("Lima", "Spanish", "South America"),
}
SHOWN_ANEW = {
    "Austria": ("Vienna", "German", "Europe"),
    "Cuba": ("Havana", "Spanish", "North America"),
    "Iran": ("Tehran", "Persian", "Asia"),
}


def examples(facts):
    """Three lines, one per country and attribute, in every order and with every attribute for each."""
    orders = list(permutations(range(3)))
    lines = [[f"{country} - {ATTRIBUTES[i]}: {fact}" for i, fact in enumerate(row)] for country, row in facts.items()]
    return ["\n".join(lines[c][a] for c, a in zip(order, asked, strict=True)) for order in orders for asked in orders]


QUESTIONS = Inputs({"shown": Choice(examples(SHOWN)), "country": Choice(list(FACTS)), "attribute": Choice(ATTRIBUTES)})


@scalar
def capital(country):
    return FACTS[country][0]


@scalar
def language(country):
    return FACTS[country][1]


@scalar
def continent(country):
    return FACTS[country][2]


def asked(attribute, capital, language, continent):
    return np.where(attribute == "capital", capital, np.where(attribute == "language", language, continent))


apart = CausalModel(capital, language, continent, asked, inputs=QUESTIONS)


def place(country):
    return np.searchsorted(list(FACTS), country)


@scalar
def fact_of(place, attribute):
    return list(FACTS.values())[place][ATTRIBUTES.index(attribute)]


whole = CausalModel(place, fact_of, inputs=QUESTIONS)


def half(country):
    return place(country) // 12


def place_in_half(country):
    return place(country) % 12


@scalar
def fact_there(half, place_in_half, attribute):
    return fact_of(12 * half + place_in_half, attribute)


alphabet = CausalModel(half, place_in_half, fact_there, inputs=QUESTIONS)

FACT = " {}".format

task = Task(
    prompt=Prompt("{shown}\n{country} - {attribute}:", FACT),
    hypotheses={
        "capital": Hypothesis(apart, "capital"),
        "language": Hypothesis(apart, "language"),
        "continent": Hypothesis(apart, "continent"),
        "country": Hypothesis(whole, "place"),
        "alphabet": Hypothesis(alphabet, "half"),
    },
    positions=("shown.last", "country.last", "country+1", "attribute.last", "last"),
    shifts={
        "other_examples": Given({"shown": examples(SHOWN_ANEW)}),
        "context": Context("Facts about some countries.\n"),
        "comma": Shift(prompt=Prompt("{shown}\n{country}, {attribute}:", FACT)),
    },
)
