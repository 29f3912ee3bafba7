"""The client of the schema registry: what it asks, what it keeps, and which troubles it tells apart."""

from collections.abc import Iterator

import pytest

from tests.support.scripted_registry import ScriptedRegistry
from worker.errors import RegistryRefused, RegistryUnavailable, SchemaUnknown, SchemaUnusable
from worker.messages.registry import Registry, Schema


@pytest.fixture
def server() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry({7: {"schema": '"string"'}}) as running:
        yield running


def test_a_schema_is_asked_for_once(server: ScriptedRegistry) -> None:
    registry = Registry(server.url + "/")
    assert registry.schema(7) == registry.schema(7) == Schema("AVRO", '"string"')
    assert server.asked == ["/schemas/ids/7"]


def test_an_unknown_id_is_asked_for_again_after_a_minute(server: ScriptedRegistry) -> None:
    now = [0.0]
    registry = Registry(server.url, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(SchemaUnknown, match="no schema with the id 8"):
            registry.schema(8)
    assert len(server.asked) == 1
    server.schemas[8] = {"schema": "{}", "schemaType": "JSON"}
    now[0] = 61.0
    assert registry.schema(8).kind == "JSON"


def test_references_come_innermost_first_and_may_be_shared(server: ScriptedRegistry) -> None:
    def reference(name: str) -> dict[str, object]:
        return {"name": name, "subject": f"s/{name}", "version": 1}

    server.schemas[7] = {"schema": "top", "references": [reference("a"), reference("b")]}
    server.versions["/subjects/s%2Fa/versions/1"] = {"schema": "A", "references": [reference("b")]}
    server.versions["/subjects/s%2Fb/versions/1"] = {"schema": "B", "references": [reference("a")]}
    assert Registry(server.url).schema(7).references == (("b", "B"), ("a", "A"))


def test_a_registry_that_is_down_is_worth_waiting_for(server: ScriptedRegistry) -> None:
    registry = Registry(server.url)
    server.down = True
    with pytest.raises(RegistryUnavailable, match="answers 503: no leader"):
        registry.schema(7)
    server.down = False
    assert registry.schema(7).text == '"string"'


def test_nobody_listens() -> None:
    with ScriptedRegistry() as server:
        url = server.url
    with pytest.raises(RegistryUnavailable, match=r"does not answer.*refused"):
        Registry(url).check()


def test_the_login() -> None:
    with ScriptedRegistry(login="me:secret") as server:
        Registry(server.url, username="me", password="secret").check()
        with pytest.raises(RegistryRefused, match=r"refuses the login, 401 .*schema_registry_username"):
            Registry(server.url).check()


def test_a_page_that_is_no_registry_is_refused_at_the_start(server: ScriptedRegistry) -> None:
    server.refusal = 404, {}
    with pytest.raises(RegistryRefused, match="answers 404 to GET /subjects"):
        Registry(server.url).check()
    for answer in (
        {},
        {"error_code": 0, "message": "no such resource"},
        {"error_code": 404},
        {"error_code": "x"},
    ):
        server.refusal = 404, answer
        with pytest.raises(RegistryUnavailable):  # a proxy may be at fault: no message is given up for it
            Registry(server.url).schema(7)
        with pytest.raises(RegistryRefused, match="cannot look up schemas by GUID"):
            Registry(server.url).schema("89791762-2336-4186-9674-299b90a802e2")


@pytest.mark.parametrize("answer", [{}, {"schema": 1}, {"schema": "x", "references": [{"name": 1}]}])
def test_an_answer_without_a_schema(server: ScriptedRegistry, answer: dict[str, object]) -> None:
    server.schemas[7] = answer
    with pytest.raises(SchemaUnusable):
        Registry(server.url).schema(7)


def test_registering(server: ScriptedRegistry) -> None:
    assert Registry(server.url).register("mood/v1-value", '"long"', "AVRO") == 1
    sent = {"schema": '"long"', "schemaType": "AVRO"}
    assert server.registered == [("/subjects/mood%2Fv1-value/versions", sent)]
    server.refusal = 409, {"error_code": 409, "message": "incompatible"}
    with pytest.raises(RegistryRefused, match="refuses the schema for `mood`, 409: incompatible"):
        Registry(server.url).register("mood", '"int"', "AVRO")


def test_an_id_that_no_registry_can_have_is_unknown_without_a_question(server: ScriptedRegistry) -> None:
    server.refusal = 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
    with pytest.raises(SchemaUnknown, match="no schema with the id -1"):
        Registry(server.url).schema(-1)
