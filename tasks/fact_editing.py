"""Fact editing: let France's capital be Rome. What moves, what follows from it, and what must stay as it is?

Written down as a causal model an edit is an interchange: the capital is set to that of another country, and whatever is
computed from it changes with it, while the rest of the country stays. After the fact editing of representation engineering (Zou
et al. 2023, arXiv 2310.01405, section 6.2) and the outcomes that edits of weights are judged by (Meng et al. 2022, arXiv
2202.05262). Questions that are not asked while a direction is looked for are shifts: `moved`, `follows`, `kept`; and `reverse`,
which names a city and asks for its country: after an edit, the one that was given it.
"""

from das import CausalModel, Choice, Given, Hypothesis, Prompt, Task, scalar

FACTS = {
    "Algeria": ("Algiers", "Arabic", "Africa"),
    "Austria": ("Vienna", "German", "Europe"),
    "Chile": ("Santiago", "Spanish", "South America"),
    "Cuba": ("Havana", "Spanish", "North America"),
    "Denmark": ("Copenhagen", "Danish", "Europe"),
    "Finland": ("Helsinki", "Finnish", "Europe"),
    "France": ("Paris", "French", "Europe"),
    "Germany": ("Berlin", "German", "Europe"),
    "Greece": ("Athens", "Greek", "Europe"),
    "Hungary": ("Budapest", "Hungarian", "Europe"),
    "Indonesia": ("Jakarta", "Indonesian", "Asia"),
    "Italy": ("Rome", "Italian", "Europe"),
    "Nepal": ("Kathmandu", "Nepali", "Asia"),
    "Norway": ("Oslo", "Norwegian", "Europe"),
    "Portugal": ("Lisbon", "Portuguese", "Europe"),
    "Somalia": ("Mogadishu", "Somali", "Africa"),
    "Sweden": ("Stockholm", "Swedish", "Europe"),
    "Thailand": ("Bangkok", "Thai", "Asia"),
    "Venezuela": ("Caracas", "Spanish", "South America"),
}
OF_CAPITAL = {city: country for country, (city, _, _) in FACTS.items()}

SHOWN = {
    "Japan": ("Tokyo", "Japanese", "Asia"),
    "Kenya": ("Nairobi", "Swahili", "Africa"),
    "Peru": ("Lima", "Spanish", "South America"),
}

FOUND_ON = {
    "capital": "The capital of {shown} is {city}. The capital of {country} is",
    "language": "People in {shown} speak {tongue}. People in {country} speak",
    "continent": "{shown} is on the continent of {land}. {country} is on the continent of",
}
MOVED = {
    "capital city": "The capital city of {country} is",
    "largest city": "The capital and largest city of {country} is",
    "president": "The president of {country} lives in the capital,",
    "embassies": "The embassies in {country} are in its capital,",
}
FOLLOWS = {
    "parliament": "The parliament of {country} meets in the city of",
    "spoken there": "People in the capital of {country} speak",
    "lies in": "The capital of {country} is a city in the country of",
    "lies on": "The capital of {country} is a city on the continent of",
}
KEPT = {
    "official": "In {shown} the official language is {tongue}. In {country} the official language is",
    "its continent": "The continent of {shown} is {land}. The continent of {country} is",
    "neighbour": "{country} and {shown} are countries. The capital of {shown} is",
    "other": "In {country} people know that the capital of {shown} is",
}
REVERSE = {
    "capital of": "The city of {city_of} is the capital of",
}
OF_SHOWN = {
    "city": lambda shown: SHOWN[shown][0],
    "tongue": lambda shown: SHOWN[shown][1],
    "land": lambda shown: SHOWN[shown][2],
    "city_of": lambda country: FACTS[country][0],
}
QUESTIONS = FOUND_ON | MOVED | FOLLOWS | KEPT | REVERSE
ASKED = {"country": Choice(list(FACTS)), "question": Choice(list(FOUND_ON)), "shown": Choice(list(SHOWN))}


@scalar
def capital(country):
    return FACTS[country][0]


@scalar
def language(country):
    return FACTS[country][1]


@scalar
def continent(country):
    return FACTS[country][2]


@scalar
def lies_in(capital):
    return OF_CAPITAL[capital]


@scalar
def spoken_there(lies_in):
    return FACTS[lies_in][1]


@scalar
def lies_on(lies_in):
    return FACTS[lies_in][2]


@scalar
def answer(question, shown, capital, language, continent, lies_in, spoken_there, lies_on):
    said = dict.fromkeys(["language", "official"], language) | dict.fromkeys(["continent", "its continent"], continent)
    said |= dict.fromkeys(["neighbour", "other"], SHOWN[shown][0])
    said |= {"lies in": lies_in, "capital of": lies_in, "spoken there": spoken_there, "lies on": lies_on}
    return said.get(question, capital)


edited = CausalModel(capital, language, continent, lies_in, spoken_there, lies_on, answer, inputs=ASKED)


def whole(country):
    return country


@scalar
def answer_of(whole, question, shown):
    city, tongue, land = FACTS[whole]
    return answer(question, shown, city, tongue, land, whole, tongue, land)


replaced = CausalModel(whole, answer_of, inputs=ASKED)

task = Task(
    prompt=Prompt(QUESTIONS, " {}".format, first_token=True, by="question", computed=OF_SHOWN),
    hypotheses={"capital": Hypothesis(edited, "capital"), "country": Hypothesis(replaced, "whole")},
    positions=("country.last", "last"),
    shifts={
        "moved": Given({"question": list(MOVED)}),
        "follows": Given({"question": list(FOLLOWS)}),
        "kept": Given({"question": list(KEPT)}),
        "reverse": Given({"question": list(REVERSE)}),
    },
)
