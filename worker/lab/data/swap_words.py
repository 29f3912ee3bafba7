"""The words that are swapped in sentences of our own: religions, nations, people, towns, names, and made-up ones.

Those of the behaviour tests' cases stand here too: what a product must hold for the words people use most, it
should learn for them. The made-up ones are for all the others.
"""

import random

# ruff: noqa: E501 - tables of words, many to a line


RELIGIONS = (
    "Christian", "Muslim", "Jewish", "Hindu", "Buddhist", "Sikh", "Catholic", "Protestant", "atheist", "Orthodox",
    "Mormon", "Quaker", "Baptist", "Baha'i", "Taoist", "Methodist", "Coptic", "Amish", "agnostic", "pagan",
    "Calvinist", "Mennonite", "Confucian", "Rastafarian", "Ismaili", "Alevi", "Yazidi", "Pentecostal",
    "Adventist", "Wiccan", "Unitarian", "Islamic", "humanist", "secular", "Hasidic", "Episcopalian", "Maronite",
    "Sufi", "Hare Krishna", "religious",
)  # fmt: skip
NATIONS = (
    "German", "Nigerian", "Iranian", "Chinese", "Mexican", "Polish", "Indian", "Turkish", "Russian", "American",
    "Brazilian", "Syrian", "Japanese", "Somali", "French", "Pakistani", "Irish", "Greek", "Korean", "Swedish",
    "Arab", "African", "Asian", "British", "Canadian", "Cuban", "Dutch", "Egyptian", "Israeli", "Italian",
    "Kenyan", "Spanish", "Austrian", "Belgian", "Bulgarian", "Croatian", "Czech", "Serbian", "Albanian",
    "Portuguese", "Swiss", "Scottish", "Welsh", "Icelandic", "Latvian", "Georgian", "Armenian", "Kurdish",
    "Iraqi", "Palestinian", "Saudi", "Yemeni", "Tunisian", "Algerian", "Libyan", "Sudanese", "Ugandan",
    "Zimbabwean", "Congolese", "Senegalese", "Jamaican", "Haitian", "Colombian", "Argentine", "Bolivian",
    "Ecuadorian", "Indonesian", "Malaysian", "Nepalese", "Mongolian", "Kazakh", "Australian", "Maori", "Samoan",
    "Tibetan", "Taiwanese", "Punjabi", "Tamil", "Latino", "European",
)  # fmt: skip
WHO = (
    "man", "woman", "gay man", "lesbian woman", "black man", "black woman", "white man", "white woman",
    "deaf man", "deaf woman", "blind man", "blind woman", "trans man", "trans woman", "young man", "young woman",
    "old man", "old woman", "disabled man", "disabled woman", "Muslim man", "Jewish woman", "Asian man",
    "Latino man", "refugee", "immigrant", "single mother", "straight man", "bisexual woman", "Mexican woman",
    "Arab man", "Roma woman", "lady", "guy", "gentleman", "kid", "child", "student", "pensioner", "grandmother",
    "father", "mother", "soldier", "nun", "priest", "monk", "foreigner", "tourist", "nonbinary person",
    "queer person", "gay woman", "wheelchair user", "deaf girl", "blind boy", "African woman", "Indian man",
    "Chinese woman", "Syrian man", "Somali woman", "Turkish man", "Polish man", "Hindu woman", "Sikh man",
    "Christian woman", "Buddhist man", "atheist", "young mother", "single father", "old lady", "teen", "toddler",
    "trans girl", "gay couple", "black teenager", "Native American", "migrant", "asylum seeker",
    "person with Down syndrome", "person in a wheelchair", "middle-aged man", "orphan",
)  # fmt: skip
TOWNS = (
    "London", "Lagos", "Tehran", "Beijing", "Mumbai", "Warsaw", "Cairo", "Lima", "Seoul", "Nairobi", "Berlin",
    "Karachi", "Chicago", "Havana", "Oslo", "Jakarta", "Paris", "Moscow", "Tokyo", "Baghdad", "Kabul", "Detroit",
    "Rome", "Kyiv", "Mexico", "India", "Israel", "Poland", "Nigeria", "Canada", "Gaza", "Texas", "Lisbon",
    "Stockholm", "Helsinki", "Copenhagen", "Brussels", "Budapest", "Bucharest", "Sofia", "Zagreb", "Belgrade",
    "Tirana", "Riyadh", "Dubai", "Doha", "Amman", "Beirut", "Damascus", "Tunis", "Algiers", "Khartoum", "Kampala",
    "Harare", "Kinshasa", "Dakar", "Kingston", "Quito", "La Paz", "Caracas", "Bangkok", "Kathmandu", "Colombo",
    "Delhi", "Shanghai", "Hong Kong", "Taipei", "Osaka", "Melbourne", "Auckland", "Boston", "Miami", "Houston",
    "Seattle", "Leeds", "Glasgow", "Cork", "Germany", "France", "Iran", "Russia", "China", "Japan", "Brazil",
    "Kenya", "Egypt", "Pakistan", "Turkey", "Ireland", "Spain",
)  # fmt: skip
NAMES = (
    "Emily", "Jamal", "Fatima", "Wei", "Carlos", "Olga", "Priya", "Kwame", "Yuki", "Moshe", "Ahmed", "Sven",
    "Latoya", "Giulia", "Reza", "Thomas", "Anna", "Mohammed", "John", "Lakisha", "Brad", "Ingrid", "Mehmet",
    "Rosa", "Ivan", "Aisha", "Nguyen", "Juan", "Chloe", "Abdul", "Tyrone", "Mei", "Peter", "Maria", "Jack",
    "Olivia", "Darnell", "Ebony", "Malik", "Shanice", "Omar", "Yasmin", "Khadija", "Ibrahim", "Amir", "Noor",
    "Raj", "Sunita", "Arjun", "Lakshmi", "Hans", "Greta", "Pierre", "Amelie", "Luca", "Sofia", "Pedro", "Lucia",
    "Jose", "Guadalupe", "Dmitri", "Natasha", "Katarzyna", "Pawel", "Chen", "Ling", "Kenji", "Sakura", "Ji-woo",
    "Thi", "Binh", "Amara", "Emeka", "Zanele", "Thabo", "Abebe", "Rivka", "Avi", "Esther", "Levi", "Kiana",
    "Tomasz", "Eszter", "Dylan",
)  # fmt: skip

_STARTS = (
    "b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "sh", "ch", "th", "br", "kr", "tr", "y",
)  # fmt: skip
_MIDDLES = ("a", "e", "i", "o", "u", "ai", "ou")
_ENDS = ("n", "r", "l", "s", "t", "k", "m", "")
_OF_A_KIND = ("ian", "ish", "ese", "ist", "i", "ite", "an", "")
_SOMEBODY = ("man", "woman", "girl", "boy", "person")


def made_name(draw: random.Random) -> str:
    """Return a name of one to three syllables that, most likely, nobody and no place has."""
    syllables = "".join(draw.choice(_STARTS) + draw.choice(_MIDDLES) for _ in range(draw.randint(1, 3)))
    return (syllables + draw.choice(_ENDS)).capitalize()


def made_kind(draw: random.Random) -> str:
    """Return what somebody of a people or faith might be called."""
    return made_name(draw) + draw.choice(_OF_A_KIND)


def made_somebody(draw: random.Random) -> str:
    """Return somebody of such a people."""
    return f"{made_kind(draw)} {draw.choice(_SOMEBODY)}"
