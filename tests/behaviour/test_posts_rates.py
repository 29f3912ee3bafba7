"""Both packs that ship hold a rate in each family of our own held-out posts: what they reach, less two."""

import tomllib
from functools import cache
from pathlib import Path

import pytest

from worker.lab.data.own_posts import read_posts
from worker.lab.evaluate.posts import PostsResult, measure_posts
from worker.lab.evaluate.score import scorer_of
from worker.model.pack import model_folder

RATES = tomllib.loads((Path(__file__).parent / "posts.toml").read_text(encoding="utf-8"))
FAMILIES: dict[str, float] = RATES["sentiment"]
PACKS = ("compact", "compact-fast")


@cache
def measured(pack: str) -> PostsResult:
    return measure_posts(scorer_of(model_folder(Path(pack))))


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_holds_its_rate_of_right_sentiments(family: str, pack: str) -> None:
    rows, shares = measured(pack).families[family]
    assert rows >= 15
    assert (shares["sentiment"] or 0.0) >= FAMILIES[family]


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("figure", RATES["most"])
def test_a_mistake_is_no_more_frequent_than_that(figure: str, pack: str) -> None:
    assert measured(pack).figures[figure].value <= RATES["most"][figure]


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("figure", RATES["least"])
def test_what_fits_is_no_rarer_than_that(figure: str, pack: str) -> None:
    assert measured(pack).figures[figure].value >= RATES["least"][figure]


def test_every_family_of_our_posts_has_a_rate() -> None:
    assert set(FAMILIES) == {post.family for post in read_posts() if post.held_out}
