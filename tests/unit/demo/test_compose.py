"""`compose.yaml`: its services start in the right order, with settings that the worker knows."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.errors import ExitCode
from worker.settings.groups import Settings
from worker.settings.load import load_settings

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("worker", "topics", "feeder")
AROUND = ("clickhouse", "grafana", "prometheus", "kafka-ui")


def settings_of(name: str) -> Settings:
    """The settings that a service of ours gets; raises on a name that the worker does not know."""
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    return load_settings(env=environment, dotenv=None).settings


def _tool() -> list[str] | None:
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
        == ExitCode.OK
    ):
        return [docker, "compose"]
    old = shutil.which("docker-compose")
    return [old] if old else None


TOOL = _tool()


def started(*names: str) -> set[str]:
    """Services that `docker compose up NAMES` starts: those, and what they depend on."""
    found = set(names)
    for name in names:
        found |= started(*SERVICES[name].get("depends_on", {}))
    return found


@pytest.mark.skipif(TOOL is None, reason="neither `docker compose` nor docker-compose is installed")
def test_the_compose_tool_accepts_it() -> None:
    assert TOOL is not None
    done = subprocess.run(
        [*TOOL, "-f", ROOT / "compose.yaml", "config"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {"kafka", *OURS, *AROUND}


def test_up_starts_all_and_a_few_names_start_less() -> None:
    assert not any("profiles" in service for service in SERVICES.values())  # each would be left out of `up`
    assert started("worker", "feeder") == {"kafka", *OURS}
    assert started("worker") == {"kafka", "topics", "worker"}
    assert started("grafana") == {"kafka", "topics", "clickhouse", "prometheus", "grafana"}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one_that_the_worker_knows(name: str) -> None:
    settings = settings_of(name)
    assert settings.kafka.bootstrap_servers == ["kafka:9092"]
    assert settings.source.topics == ["posts"]


def test_workers_can_be_scaled() -> None:
    worker = SERVICES["worker"]
    # What only one container of a service can have: a name, a port of this machine, an assigned slot.
    assert not {"container_name", "ports", "hostname"} & worker.keys()
    assert "MOODSTREAM_DELIVERY__SLOT" not in worker["environment"]


def test_nobody_begins_before_there_are_brokers_and_topics() -> None:
    assert SERVICES["kafka"]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    for name in ("worker", "feeder"):
        depends = SERVICES[name]["depends_on"]
        assert depends["kafka"] == {"condition": "service_healthy"}
        assert depends["topics"] == {"condition": "service_completed_successfully"}


def test_a_worker_that_fails_is_started_again_and_has_time_to_drain() -> None:
    worker = SERVICES["worker"]
    assert worker["restart"] == "on-failure"
    drain_s = settings_of("worker").delivery.drain_timeout_s
    assert int(worker["stop_grace_period"].removesuffix("s")) > drain_s


def test_published_ports_do_not_clash_and_stay_on_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.rsplit(":", 1)[0] for port in published}) == len(published) == 5


def test_the_topic_command_is_one_that_the_command_line_knows() -> None:
    from click.testing import CliRunner

    from worker.cli.main import cli

    command = [*SERVICES["topics"]["command"], "--help"]
    assert CliRunner().invoke(cli, command).exit_code == 0


@pytest.mark.parametrize("name", SERVICES)
def test_containers_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    # The two that write beside their data say so in compose.yaml.
    assert service.get("read_only", False) is (name not in {"kafka", "clickhouse"})


def test_every_file_that_a_container_sees_exists() -> None:
    mounted = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert len(mounted) == 4
    for path in mounted:
        assert (ROOT / path).is_dir(), path


def test_images_of_others_have_a_version() -> None:
    for name in ("kafka", *AROUND):
        _, _, version = SERVICES[name]["image"].partition(":")
        assert any(character.isdigit() for character in version), name


def test_prometheus_asks_every_container_of_the_worker() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    [found] = config["scrape_configs"][0]["dns_sd_configs"]
    assert (found["names"], found["type"]) == (["worker"], "A")
    port = found["port"]
    assert f"MOODSTREAM_OBSERVE__PORT={port}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
