"""`compose.yaml`: its services start in the right order, with settings that the worker knows."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.errors import ExitCode
from worker.settings.load import load_settings

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = ("worker-0", "worker-1")
OURS = (*WORKERS, "topics", "feeder")
AROUND = ("clickhouse", "grafana", "prometheus", "kafka-ui")


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


@pytest.mark.skipif(TOOL is None, reason="neither `docker compose` nor docker-compose is installed")
def test_the_compose_tool_accepts_it() -> None:
    assert TOOL is not None
    done = subprocess.run(
        [*TOOL, "-f", ROOT / "compose.yaml", "config"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {"kafka", *OURS, *AROUND}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one_that_the_worker_knows(name: str) -> None:
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    settings = load_settings(env=environment, dotenv=None).settings  # raises on an unknown name
    assert settings.kafka.bootstrap_servers == ["kafka:9092"]
    assert settings.source.topics == ["posts"]


def test_two_workers_share_the_group_and_have_a_slot_each() -> None:
    loaded = [
        load_settings(env={k: str(v) for k, v in SERVICES[name]["environment"].items()}, dotenv=None).settings
        for name in WORKERS
    ]
    assert [settings.delivery.slot for settings in loaded] == ["0", "1"]
    assert len({settings.source.group_id for settings in loaded}) == 1
    assert len({settings.sink.topic for settings in loaded}) == 1


def test_nobody_begins_before_there_are_brokers_and_topics() -> None:
    assert SERVICES["kafka"]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    for name in (*WORKERS, "feeder"):
        depends = SERVICES[name]["depends_on"]
        assert depends["kafka"] == {"condition": "service_healthy"}
        assert depends["topics"] == {"condition": "service_completed_successfully"}


def test_a_worker_that_fails_is_started_again_and_has_time_to_drain() -> None:
    for name in WORKERS:
        assert SERVICES[name]["restart"] == "on-failure"
        environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
        drain_s = load_settings(env=environment, dotenv=None).settings.delivery.drain_timeout_s
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drain_s


def test_published_ports_do_not_clash_and_stay_on_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.rsplit(":", 1)[0] for port in published}) == len(published) == 7


def test_the_image_runs_as_a_user_and_serves_what_compose_publishes() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "\nUSER 10001:10001\n" in dockerfile
    assert "MOODSTREAM_OBSERVE__HOST=0.0.0.0" in dockerfile
    assert "MOODSTREAM_OBSERVE__PORT=9464" in dockerfile
    assert {port.rsplit(":", 1)[1] for name in WORKERS for port in SERVICES[name]["ports"]} == {"9464"}


def test_the_topic_command_is_one_that_the_command_line_knows() -> None:
    from click.testing import CliRunner

    from worker.cli.main import cli

    command = [*SERVICES["topics"]["command"], "--help"]
    assert CliRunner().invoke(cli, command).exit_code == 0


@pytest.mark.parametrize("name", OURS)
def test_our_own_containers_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


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


def test_prometheus_asks_the_workers_that_there_are() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    [found] = config["scrape_configs"][0]["dns_sd_configs"]
    assert found == {"names": list(WORKERS), "type": "A", "port": 9464}
