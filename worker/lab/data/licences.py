"""Where the known data sets come from and what their sources say of their use; for the card."""

from typing import NamedTuple


class Licence(NamedTuple):
    """A data set, who made it, and what its source says of its use."""

    title: str
    source: str
    licence: str


LICENCES = {
    "sst2": Licence(
        "SST-2, movie-review phrases (as in GLUE)",
        "Socher and others 2013",
        "no explicit licence stated; research use",
    ),
    "tweeteval_sentiment": Licence(
        "TweetEval sentiment, tweets (train rebuilt from SemEval-2017 task 4A)",
        "Barbieri and others 2020; Rosenthal and others 2017",
        "no restrictions of its own; those of single tasks and of Twitter may apply; research use",
    ),
    "goemotions": Licence(
        "GoEmotions, Reddit comments",
        "Demszky and others 2020",
        "repository Apache-2.0; data CC BY 4.0 from memory, not read again at its source",
    ),
    "reviews": Licence(
        "Product reviews (books, dvd, electronics, kitchen) and airline reviews",
        "Blitzer and others 2007 (products); not stated (airline)",
        "none stated for the data; research use",
    ),
    **{
        f"reviews_{name}": Licence(
            f"Product reviews, {name}", "Blitzer and others 2007", "none stated; research use"
        )
        for name in ("books", "dvd", "electronics", "kitchen")
    },
    "reviews_airline": Licence("Airline reviews", "not stated", "none stated; research use"),
    "imdb": Licence(
        "Large Movie Review Dataset (IMDB)",
        "Maas and others 2011",
        "none stated; its authors ask to be cited",
    ),
    "imdb_sentences": Licence(
        "single sentences of the same reviews, without labels",
        "Maas and others 2011",
        "as above",
    ),
    "toxic_spans": Licence(
        "Toxic spans (SemEval-2021 task 5), Civil Comments",
        "Pavlopoulos and others 2021",
        "CC0 1.0",
    ),
    "toxic_posts": Licence(
        "the same posts as a whole: toxic where a character is marked",
        "Pavlopoulos and others 2021",
        "CC0 1.0",
    ),
    "offensive": Licence(
        "TweetEval offensive, tweets",
        "Barbieri and others 2020; Zampieri and others 2019",
        "as TweetEval sentiment",
    ),
    "goemotions_calm": Licence(
        "GoEmotions' kind and plain comments as not toxic (a weak label: nobody judged that)",
        "Demszky and others 2020",
        "as GoEmotions",
    ),
    "sst2_calm": Licence(
        "SST-2's phrases as not toxic (a weak label: nobody judged that)", "as SST-2", "as SST-2"
    ),
    "reviews_calm": Licence(
        "the product and airline reviews as not toxic (a weak label: nobody judged that)",
        "as reviews",
        "as reviews",
    ),
    "six_emotions": Licence(
        "six-emotion set, tweets", "Saravia and others 2018", "educational and research use only"
    ),
    **{
        f"written_{head}": Licence(
            f"rows of our own, put together from parts ({head}; worker/training/written.py)",
            "this project",
            "Apache-2.0",
        )
        for head in ("sentiment", "toxicity", "spans", "emotion")
    },
    "written_swaps": Licence(
        "sentences of our own in which one word changes, who somebody is, a name or a place: each learns the "
        "mean of a teacher's answers (worker/training/written_swaps.py)",
        "this project",
        "Apache-2.0",
    ),
    "written_slips": Licence(
        "sentences of our own and misspellings of them, which learn a teacher's answer to the sentence",
        "this project",
        "Apache-2.0",
    ),
}
"""As the README.txt of each data folder gives it."""
