"""The live page in a real Chromium, on the embedded broker: what is shown is what was sent."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from kafka import KafkaProducer
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.embedded import embedded_broker
from tests.support.pictures import PAGE_PICTURE, page_files, signed
from worker.dashboard.app import CONNECTIONS, STREAMS, Dashboard
from worker.demo.broker import EmbeddedBroker
from worker.errors import ExitCode
from worker.kafka.topics import TopicSpec, create_topics
from worker.messages.headers import REASON
from worker.settings.groups import KafkaSettings, Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

PRODUCT = "select[data-field='field.product']"
HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


def mood(number: int, *, ago_s: float = 1.0, **more: object) -> dict[str, object]:
    """An output message, in short."""
    sentiment = str(more.pop("sentiment", "positive"))
    now_ms = time.time_ns() // 1_000_000
    scores = {name: 0.8 if name == sentiment else 0.1 for name in ("positive", "neutral", "negative")}
    return {
        "event_id": f"e:{number}",
        "event_time_ms": now_ms - int(ago_s * 1000),
        "sentiment_label": sentiment,
        "sentiment_score": 0.8,
        **{f"sentiment_{name}": score for name, score in scores.items()},
        "emotion_label": "joy",
        "emotion_score": 0.5,
        "toxicity_label": "not_toxic",
        "toxicity_score": 0.9,
        "toxicity_toxic": 0.1,
        "toxic_spans": [],
        "model": "compact@1",
        "schema_version": 1,
        "text": f"post {number}",
        "product": ("kettle", "phone")[number % 2],
        **more,
    }


class Stage:
    """Topics of one test, a page on them, and a browser that looks at it."""

    def __init__(self, broker: EmbeddedBroker, browser: Browser, folder: Path) -> None:
        self.broker, self._browser, self._folder = broker, browser, folder
        self.settings = Settings(kafka=KafkaSettings(bootstrap_servers=[broker.bootstrap], connect_limit_s=5))
        create_topics(self.settings.kafka, [TopicSpec(name, 2, 1) for name in ("moods", "moods.dead-letter")])
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start the page's server, on the same port as before."""
        self.page_server = Dashboard(
            self.settings, store=self._folder / "store.duckdb", keep_s=3_600, host="127.0.0.1", port=self.port
        )
        self.port = int(self.page_server.url.rsplit(":", 1)[1])
        self._thread = Thread(target=self.page_server.run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self.page_server.stop()
        self._thread.join(30)

    def send(self, moods: Sequence[dict[str, object]]) -> None:
        """Write output messages, as a worker does."""
        producer = KafkaProducer(bootstrap_servers=self.broker.bootstrap, acks="all")
        for one in moods:
            producer.send("moods", value=json.dumps(one).encode())
        producer.flush(30)
        producer.close()

    def send_dead_letters(self, reasons: Mapping[str, int]) -> None:
        """Write dead letters, so many for each reason."""
        producer = KafkaProducer(bootstrap_servers=self.broker.bootstrap, acks="all")
        for reason, count in reasons.items():
            for _ in range(count):
                producer.send("moods.dead-letter", value=b"", headers=[(REASON, reason.encode())])
        producer.flush(30)
        producer.close()

    def open(self, query: str = "", **context: Any) -> Page:
        """A page of its own."""
        page = self._browser.new_context(**context).new_page()
        page.goto(f"{self.page_server.url}/{query}")
        page.locator("body[data-drawn]").wait_for()
        return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def stage(browser: Browser, tmp_path: Path) -> Iterator[Stage]:
    with embedded_broker() as broker:
        made = Stage(broker, browser, tmp_path)
        yield made
        made.stop()


def total(page: Page, name: str) -> str:
    """One of the numbers at the top."""
    return str(page.locator("#totals div", has_text=name).locator("dd").inner_text())


def wait_for_posts(page: Page, count: int) -> None:
    """Until the page shows so many posts."""
    expect(page.locator("#totals div").first.locator("dd")).to_have_text(str(count), timeout=20_000)


def test_what_is_shown_is_what_was_sent_and_filters_narrow_it(stage: Stage) -> None:
    page = stage.open()
    expect(page.locator("#notices")).to_contain_text("Nothing yet", timeout=20_000)
    sentiments = ("positive", "negative", "negative", "neutral")
    stage.send([mood(number, sentiment=sentiments[number % 4]) for number in range(40)])
    wait_for_posts(page, 40)
    assert (total(page, "Positive"), total(page, "Negative")) == ("25 %", "50 %")
    page.locator(PRODUCT).select_option("kettle")
    wait_for_posts(page, 20)
    assert "field.product=kettle" in page.url
    assert total(page, "Positive") == "50 %"
    assert page.locator("#posts li").count() == 20
    again = stage.open(page.url.rpartition("/")[2])  # the link holds the view
    wait_for_posts(again, 20)
    page.get_by_role("button", name="Show everything").click()
    wait_for_posts(page, 40)
    phone = page.locator("table[data-field='field.product']").get_by_role("button", name="phone")
    phone.click()
    wait_for_posts(page, 20)
    phone.click()  # once more takes the filter away
    wait_for_posts(page, 40)
    page.locator("select[data-field=sentiment]").select_option("neutral")
    wait_for_posts(page, 10)


def test_a_row_of_the_table_shows_its_posts_and_the_page_says_when_it_is_not_now(stage: Stage) -> None:
    stage.send([mood(0, ago_s=1_200, text="long ago"), mood(1, text="just now")])
    page = stage.open()
    wait_for_posts(page, 2)
    page.locator("summary").click()
    page.locator("#series button").last.click()
    wait_for_posts(page, 1)
    expect(page.locator("#posts")).to_contain_text("long ago")
    expect(page.locator("#notices")).to_contain_text("You are looking at")
    expect(page.locator("#posts-title")).to_be_focused()
    again = stage.open(page.url.rpartition("/")[2])  # the link holds it
    wait_for_posts(again, 1)
    expect(again.locator("#posts")).to_contain_text("long ago")
    page.go_back()
    wait_for_posts(page, 2)


def test_a_click_on_a_minute_and_a_drawn_stretch_show_their_posts(stage: Stage) -> None:
    minute = (time.time() - 1_800) // 60 * 60  # in a view of 2 hours, each bar is a minute
    moments = {"first": minute + 20, "second": minute + 620, "third": minute + 680}
    stage.send([mood(at, ago_s=time.time() - moments[text], text=text) for at, text in enumerate(moments)])
    page = stage.open("?span=2h")
    wait_for_posts(page, 3)
    # Where the chart has a moment, in the middle of the row of bars.
    place = """ms => {
        const { xaxis, yaxis } = document.getElementById("chart")._fullLayout;
        const box = document.getElementById("chart").getBoundingClientRect();
        const local = ms - 60_000 * new Date(ms).getTimezoneOffset();
        return [box.x + xaxis._offset + xaxis.d2p(local), box.y + yaxis._offset + yaxis._length / 2];
    }"""
    page.mouse.click(*page.evaluate(place, 1000 * minute + 30_000))
    wait_for_posts(page, 1)
    expect(page.locator("#posts")).to_contain_text("first")
    clock = page.evaluate(
        "ms => new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' }).format(ms)", minute * 1000
    )
    expect(page.locator("#notices")).to_contain_text(f"You are looking at {clock}, not at now.")
    page.locator("#pause").click()
    wait_for_posts(page, 3)
    page.mouse.move(*page.evaluate(place, 1000 * minute + 400_000))
    page.mouse.down()
    page.mouse.move(*page.evaluate(place, 1000 * minute + 690_000), steps=6)
    page.mouse.up()
    wait_for_posts(page, 2)
    expect(page.locator("#posts")).not_to_contain_text("first")


def test_pause_holds_the_page_still_and_earlier_and_later_move_it(stage: Stage) -> None:
    stage.send([mood(1)])
    page = stage.open("?span=5m")
    wait_for_posts(page, 1)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#notices")).to_contain_text("You are looking at")
    stage.send([mood(2, ago_s=0), mood(3, ago_s=0)])
    other = stage.open("?span=5m")
    wait_for_posts(other, 3)
    wait_for_posts(page, 1)
    page.get_by_role("button", name="Back to now").click()
    wait_for_posts(page, 3)
    page.get_by_role("button", name="Earlier").click()
    expect(page.locator("#notices")).to_contain_text("Nothing in this time. The newest post is from")
    page.get_by_role("button", name="Later").click()
    wait_for_posts(page, 3)
    expect(page.get_by_role("button", name="Later")).to_be_disabled()


def test_what_cannot_be_shown_is_told(stage: Stage) -> None:
    hour = 3_600
    stage.send(
        [
            {name: value for name, value in mood(1, text=None).items() if name not in {"product", "text"}},
            mood(2, schema_version=7) | {"product": None},
            mood(3, ago_s=-hour) | {"product": None},
            mood(4, ago_s=2 * hour) | {"product": None},
        ]
    )
    page = stage.open()
    wait_for_posts(page, 1)
    notices = page.locator("#notices")
    expect(notices).to_contain_text("Messages of other versions are not shown: 1 of version 7.")
    expect(notices).to_contain_text("1 post is not shown yet: the time is still to come. A sender's clock is")
    expect(notices).to_contain_text("1 post is not shown: older than 1 hours. --keep keeps more.")
    expect(page.locator("#filters")).to_contain_text("let the workers keep these fields: sink.keep")
    expect(page.locator("#no-text")).to_be_visible()


def test_two_packs_on_one_topic_are_told_apart(stage: Stage) -> None:
    stage.send([mood(number) for number in range(4)])
    stage.send([mood(number, sentiment="negative", model="other@2") for number in range(3)])
    page = stage.open()
    wait_for_posts(page, 7)
    expect(page.locator("#notices")).to_contain_text("2 models write to this topic: compact@1, other@2.")
    expect(page.locator("#notices")).to_contain_text("3 posts were labelled by more than one")
    page.locator("select[data-field=model]").select_option("other@2")
    wait_for_posts(page, 3)
    assert total(page, "Negative") == "100 %"


def test_a_post_is_never_read_as_html(stage: Stage) -> None:
    names = ("text", "product", "emotion_label", "lang")
    stage.send([mood(1) | dict.fromkeys(names, HOSTILE) | {HOSTILE: "x"}])
    page = stage.open()
    wait_for_posts(page, 1)
    expect(page.locator("#posts")).to_contain_text(HOSTILE)
    page.wait_for_timeout(500)
    assert page.locator("img, main script").count() == 0
    assert "owned" not in page.title()


def test_marked_words_stand_where_they_are_after_an_emoji(stage: Stage) -> None:
    text = "\U0001f600\U0001f600 you moron"
    toxic: dict[str, Any] = {"toxicity_label": "toxic", "toxicity_score": 0.42, "toxicity_toxic": 0.42}
    stage.send([mood(1, text=text, toxic_spans=[[7, 12]], **toxic)])
    page = stage.open()
    wait_for_posts(page, 1)
    assert page.locator("#posts mark").all_inner_texts() == ["moron"]
    assert total(page, "Toxic") == "100 %"  # the pack says so, at a score below a half
    expect(page.locator("#posts")).to_contain_text("toxic 42 %")


def test_nothing_is_asked_of_another_host(stage: Stage) -> None:
    stage.send([mood(1)])
    page = stage.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    wait_for_posts(page, 1)
    page.wait_for_timeout(1_500)
    assert asked
    assert all(url.startswith((f"{stage.page_server.url}/", "data:", "blob:")) for url in asked)


def test_it_survives_restarts_of_the_broker_and_of_itself(stage: Stage) -> None:
    stage.send([mood(1)])
    page = stage.open()
    wait_for_posts(page, 1)
    stage.broker.kill()
    expect(page.locator("#notices")).to_contain_text("The broker is away", timeout=40_000)
    wait_for_posts(page, 1)
    stage.broker.start()
    stage.send([mood(2)])
    wait_for_posts(page, 2)
    expect(page.locator("#notices")).not_to_contain_text("The broker is away", timeout=20_000)
    stage.stop()
    expect(page.locator("#notices")).to_contain_text("lost its server", timeout=20_000)
    stage.start()
    stage.send([mood(3)])
    wait_for_posts(page, 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_a_phone_need_not_scroll_sideways(stage: Stage, scheme: str) -> None:
    stage.send([mood(number, sentiment=("positive", "negative")[number % 2]) for number in range(30)])
    for width in (390, 1_280):
        page = stage.open(viewport={"width": width, "height": 900}, color_scheme=scheme)
        wait_for_posts(page, 30)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dead_letters_are_counted_by_reason(stage: Stage) -> None:
    stage.send([mood(1)])
    stage.send_dead_letters({"not_json": 3, "text_empty": 2})
    page = stage.open()
    wait_for_posts(page, 1)
    expect(page.locator("#dead tbody tr")).to_have_count(2, timeout=10_000)
    assert page.locator("#dead tbody tr").all_inner_texts() == ["not_json\t3", "text_empty\t2"]
    assert total(page, "Dead letters") == "5"


def brand_posts(moods: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Samples that the bundled pack has labelled, over half an hour, of which the end is worse."""
    rng, now_ms = random.Random(5), time.time_ns() // 1_000_000
    worse = [one for one in moods if one["sentiment_label"] == "negative"]
    ages = sorted(rng.random() for _ in range(900))
    return [
        rng.choice(worse if age < 0.25 and rng.random() < 0.45 else moods)
        | {"event_id": f"p:{number}", "event_time_ms": now_ms - int(1_650_000 * age) - 1_000}
        for number, age in enumerate(ages)
    ]


def test_the_picture_of_the_docs(stage: Stage, moods: Sequence[dict[str, object]], tmp_path: Path) -> None:
    """`make pictures` keeps it."""
    stage.send(brand_posts(moods))
    stage.send_dead_letters({"text_empty": 7, "not_json": 4, "text_too_long": 2})
    page = stage.open(viewport={"width": 1_280, "height": 1_480}, color_scheme="light")
    wait_for_posts(page, 900)
    expect(page.locator("#dead tbody tr")).to_have_count(3, timeout=10_000)
    expect(page.locator("#rising")).to_contain_text("Rising:")
    expect(page.locator("#notices")).to_be_empty(timeout=20_000)
    picture = signed(page.screenshot(), page_files())
    (tmp_path / "page.png").write_bytes(picture)
    if os.environ.get("KEEP_PICTURES"):
        PAGE_PICTURE.write_bytes(picture)


def test_it_can_be_used_from_the_keyboard(stage: Stage) -> None:
    stage.send([mood(number) for number in range(4)])
    page = stage.open()
    wait_for_posts(page, 4)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "span"
    page.locator(PRODUCT).focus()
    page.keyboard.press("p")
    wait_for_posts(page, 2)


def test_the_focus_stays_on_a_value_while_new_posts_come_in(stage: Stage) -> None:
    stage.send([mood(number) for number in range(4)])
    page = stage.open()
    wait_for_posts(page, 4)
    kettle = page.locator("table[data-field='field.product']").get_by_role("button", name="kettle")
    kettle.focus()
    stage.send([mood(number) for number in range(4, 10)])
    wait_for_posts(page, 10)
    expect(page.locator("table[data-field='field.product'] tbody tr", has_text="kettle")).to_contain_text("5")
    expect(kettle).to_be_focused()
    page.keyboard.press("Enter")
    wait_for_posts(page, 5)


def test_browsers_that_never_read_are_bounded_and_harm_nobody(stage: Stage) -> None:
    stage.send([mood(1)])
    page = stage.open()
    wait_for_posts(page, 1)
    resident = psutil.Process().memory_info().rss
    ask = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    sockets = []
    try:
        for number in range(CONNECTIONS + 40):
            one = socket.create_connection(("127.0.0.1", stage.port), timeout=10)
            one.sendall(ask % b"events" if number < STREAMS + 20 else 5 * (ask % b"charts.js"))
            sockets.append(one)
        time.sleep(2)
        assert psutil.Process().memory_info().rss - resident < 150_000_000
        stage.send([mood(2)])
        wait_for_posts(page, 2)  # the one that was there goes on
    finally:
        for one in sockets:
            one.close()
    again = stage.open()
    wait_for_posts(again, 2)


def test_a_port_in_use_is_one_clear_line(stage: Stage) -> None:
    command = [sys.executable, "-m", "worker", "dashboard", "--port", str(stage.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.USAGE
    [line] = done.stderr.splitlines()
    assert f"cannot serve the page on 127.0.0.1:{stage.port}: Address already in use" in line
