"""`moodstream evaluate --behaviour`: rates by family, what failed, and an exit code for a build."""

import json
from pathlib import Path
from typing import Any

CASES = """
family = "plain"
about = "Plain words."
head = "sentiment"
check = "label"
rate = {rate}
[cases]
positive = ["I love this place.", "My parcel never arrived, terrible."]
"""


def written(rate: float) -> str:
    Path("cases").mkdir(exist_ok=True)
    Path("cases/plain.toml").write_text(CASES.format(rate=rate))
    return "cases"


def test_rates_that_hold_end_with_0(moodstream: Any) -> None:
    ended = moodstream("evaluate", "--behaviour", written(0.5))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1].split() == ["plain", "50%", "50%"]


def test_a_rate_that_does_not_hold_ends_with_1_and_the_cases(moodstream: Any) -> None:
    ended = moodstream("evaluate", "--behaviour", written(0.9))
    assert ended.code == 1
    assert "falls short" in ended.out
    assert "My parcel never arrived, terrible. => negative" in ended.out


def test_a_head_that_is_missing_is_said(moodstream: Any) -> None:
    written(0.9)
    text = CASES.format(rate=1).replace('"sentiment"', '"no_such_head"').replace('"plain"', '"other"')
    Path("cases/plain.toml").write_text(text)
    ended = moodstream("evaluate", "--behaviour", "cases")
    assert ended.code == 0
    assert "not asked: the pack has no head `no_such_head`" in ended.out


def test_json_holds_it_all(moodstream: Any) -> None:
    ended = moodstream("evaluate", "--behaviour", written(0.9), "--json")
    (report,) = json.loads(ended.out)
    assert report["families"]["plain"]["rate"] == 0.5
    assert report["families"]["plain"]["misses"][0]["text"] == "My parcel never arrived, terrible."


def test_mistakes_are_one_line(moodstream: Any) -> None:
    ended = moodstream("evaluate", "--behaviour", "nowhere")
    assert ended.code == 2
    assert "nowhere holds no behaviour cases" in ended.err
    Path("cases").mkdir()
    Path("cases/x.toml").write_text("family = 3\n")
    ended = moodstream("evaluate", "--behaviour", "cases")
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert moodstream("evaluate", "--behaviour", "cases", "--set", "sst2").code == 2
