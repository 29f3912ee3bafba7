"""A real Prometheus that scrapes a real worker under load, and the rules by Prometheus' own test tool."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.test_grafana import panels
from tests.support.embedded import embedded_broker
from tests.support.scenario import Feeder
from tests.support.topics import Topics

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yml"
_LOAD_S = 25.0

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Prometheus:
    """A server that scrapes one address every second."""

    def __init__(self, target: str, folder: Path) -> None:
        self.port = _free_port()
        config = folder / "prometheus.yml"
        job = {"job_name": "moodstream", "static_configs": [{"targets": [target]}]}
        timing = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        shutil.copy(RULES, folder / "rules.yml")
        # JSON is YAML.
        config.write_text(
            json.dumps({"global": timing, "rule_files": ["rules.yml"], "scrape_configs": [job]}),
            encoding="utf-8",
        )
        self.log = (folder / "prometheus.log").open("w")
        command = [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def ask(self, path: str, **parameters: str) -> Any:
        """One answer of its HTTP interface."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=10
        ) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> list[Any]:
        """The series of an instant query."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus after some 25 seconds of a worker at work."""
    folder = tmp_path_factory.mktemp("scraped")
    with embedded_broker() as broker:
        topics = Topics(broker.bootstrap, "scraped")
        topics.create()
        worker = topics.worker("0", folder)
        worker.start()
        worker.wait_ready()
        url = worker.url()
        assert url is not None
        prometheus = Prometheus(url.removeprefix("http://"), folder)
        feeder = Feeder(topics, 40)
        feeder.start()
        time.sleep(_LOAD_S)
        yield prometheus
        feeder.finish()
        worker.terminate()
        prometheus.close()


def _queries() -> list[Any]:
    return [
        pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in panels("worker")
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("expression", _queries())
def test_every_query_of_the_worker_dashboard_gives_numbers(scraped: Prometheus, expression: str) -> None:
    series = scraped.value(expression.replace("$__rate_interval", "15s"))
    assert series
    assert all(value != "NaN" for entry in series for value in entry["value"][1:])


def test_the_recorded_rates_are_those_of_the_load(scraped: Prometheus) -> None:
    [rate] = scraped.value("sum(rate(moodstream_messages_total[15s]))")
    assert 20 < float(rate["value"][1]) < 60  # 40 a second are sent
    [recorded] = scraped.value("moodstream:messages:rate5m")
    assert float(recorded["value"][1]) > 0
    [share] = scraped.value("moodstream:dead_letters:share5m")
    assert 0.02 < float(share["value"][1]) < 0.12  # one in 17 is broken


def test_the_recorded_shares_of_a_task_and_of_the_languages_add_up_to_one(scraped: Prometheus) -> None:
    tasks = scraped.value("sum by (task) (moodstream:labels:share5m)")
    assert {entry["metric"]["task"] for entry in tasks} == {"sentiment", "emotion", "toxicity"}
    languages = scraped.value("sum(moodstream:languages:share5m)")
    assert [float(entry["value"][1]) for entry in [*tasks, *languages]] == pytest.approx([1.0] * 4)


def test_prometheus_stores_no_created_series(scraped: Prometheus) -> None:
    names = scraped.ask("label/__name__/values")
    assert "process_cpu_seconds_total" in names
    assert not [name for name in names if name.endswith("_created")]


def test_no_alert_fires_while_all_is_well(scraped: Prometheus) -> None:
    firing = [alert for alert in scraped.ask("alerts")["alerts"] if alert["state"] == "firing"]
    assert firing == []


def test_the_rules_fire_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(Path(__file__).parent / "rules_test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_one_that_prometheus_takes() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(RULES.parent / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
