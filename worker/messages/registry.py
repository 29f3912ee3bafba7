"""A client for schema registries with Confluent's API: schemas by their id, and new ones registered.

Source: the HTTP API of Confluent's Schema Registry, which Apicurio, Karapace and Redpanda offer too. Needs
urllib3, which the extra `registry` brings.
"""

import base64
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import orjson
from pydantic import SecretStr

from worker.errors import (
    RegistryError,
    RegistryRefused,
    RegistryUnavailable,
    SchemaUnknown,
    SchemaUnusable,
    SettingsError,
    one_line,
)
from worker.settings.kafka import KafkaSettings
from worker.tls import certificate_wanted, load_key, tls_refusal

_TIMEOUT_S = 5.0
_ALERT_S = 1.0
_MOST_KEPT = 1_000
"""Ids remembered, unknown ones included: a producer can write any."""

_UNKNOWN_FOR_S = 60.0
"""How long an unknown id is not asked for again. Schemas of one registry reach its copies with a delay."""

_MOST_REFERENCES = 100
_LARGEST = 4 * 1024 * 1024
_TYPE = "application/vnd.schemaregistry.v1+json"

_TLS_NAMES = {
    "ca": "kafka.schema_registry_ca_file",
    "certificate": "kafka.schema_registry_cert_file",
    "key": "kafka.schema_registry_key_file",
    "protocol": "kafka.schema_registry_url",
    "host": "kafka.schema_registry_url",
}
"""The settings that a message about TLS names."""

Known = TypeVar("Known")


class Schema(NamedTuple):
    """A schema as the registry holds it. `kind` is `AVRO`, `PROTOBUF` or `JSON`.

    `references` holds the schemas that it refers to and those that they refer to, by the names by which they
    are referred to; each comes after those that it needs.
    """

    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


class _Answer(NamedTuple):
    status: int
    data: bytes

    @property
    def fine(self) -> bool:
        return 200 <= self.status < 300

    def object(self) -> dict[str, Any]:
        """The JSON object of the answer; an empty one if there is none."""
        try:
            found = orjson.loads(self.data)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def missing(self) -> bool:
        """Whether the registry says that there is no such thing.

        Its codes for that are 40401 and up. A proxy's page, or an address that it does not know, is something
        else: Apicurio answers the latter with a code of 0.
        """
        code = self.object().get("error_code")
        return self.status == 404 and isinstance(code, int) and 40400 < code < 40500

    @property
    def said(self) -> str:
        """The registry's own words, on one line."""
        words = self.object().get("message")
        return (
            one_line(Exception(words), 200)
            if isinstance(words, str)
            else f"{len(self.data)} bytes, no reason"
        )


class Registry:
    """Reads and registers schemas. What it has read is kept.

    Args:
        url: where the registry is, such as `https://registry.example:8081`.
        username, password: for basic authentication, if both are given.
        token: for bearer authentication, instead.
        tls: how to talk to an https address; if None, the authorities of the system are trusted.
        has_certificate: whether `tls` has a certificate of the client's.
        clock: a monotonic clock, in seconds.

    Raises:
        SettingsError: urllib3 is missing, or the token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        has_certificate: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import urllib3  # noqa: PLC0415 - an extra brings it
        except ImportError:
            raise SettingsError(
                ["kafka.schema_registry_url needs the extra `registry`: pip install 'moodstream[registry]'"]
            ) from None
        self._url = url.rstrip("/")
        self._headers = {"accept": f"{_TYPE}, application/json"}
        self._login = "kafka.schema_registry_username, kafka.schema_registry_password"
        if token is not None:
            self._login = "kafka.schema_registry_token"
            self._headers["authorization"] = f"Bearer {_sendable(token)}"
        elif username is not None and password is not None:
            login = base64.b64encode(f"{username}:{password}".encode()).decode()
            self._headers["authorization"] = f"Basic {login}"
        self._tls = tls
        self._has_certificate = has_certificate
        self._clock = clock
        self._errors = (urllib3.exceptions.HTTPError, OSError)
        self._pool = urllib3.PoolManager(
            ssl_context=tls,
            timeout=urllib3.Timeout(total=_TIMEOUT_S),
            retries=False,
        )
        self._by_id: dict[int | str, Schema] = {}
        self._unknown: dict[int | str, float] = {}

    @classmethod
    def of(cls, kafka: KafkaSettings) -> "Registry | None":
        """Make the registry of the settings, or None if they name none.

        Raises:
            SettingsError: urllib3 is missing, or the files for TLS or the token cannot be used.
        """
        if kafka.schema_registry_url is None:
            return None
        return cls(
            kafka.schema_registry_url,
            username=kafka.schema_registry_username,
            password=_revealed(kafka.schema_registry_password),
            token=_revealed(kafka.schema_registry_token),
            tls=_tls(kafka) if kafka.schema_registry_url.startswith("https:") else None,
            has_certificate=kafka.schema_registry_cert_file is not None,
        )

    def check(self) -> None:
        """Make sure that the registry answers and accepts the login.

        Raises:
            RegistryUnavailable, RegistryRefused: it does not.
        """
        answer = self._ask("GET", "/subjects")
        if not answer.fine:
            raise RegistryRefused(f"{self._name} answers {answer.status} to GET /subjects: {answer.said}")

    def schema(self, number: int | str) -> Schema:
        """Return the schema with an id, or with a GUID.

        Raises:
            SchemaUnknown: there is none.
            SchemaUnusable: the registry's answer is no schema.
            RegistryUnavailable, RegistryRefused: the registry cannot be asked.
        """
        known = self._by_id.get(number)
        if known is not None:
            return known
        unknown = SchemaUnknown(f"the schema registry has no schema with the id {number}")
        if isinstance(number, int) and number < 0:
            raise unknown
        if self._unknown.get(number, float("-inf")) > self._clock():
            raise unknown
        answer = self._ask("GET", f"/schemas/{'ids' if isinstance(number, int) else 'guids'}/{number}")
        if answer.missing:
            _remember(self._unknown, number, self._clock() + _UNKNOWN_FOR_S)
            raise unknown
        if answer.status == 404 and isinstance(number, str):
            raise RegistryRefused(
                f"{self._name} cannot look up schemas by GUID, which the messages name them by: {answer.said}"
            )
        said = self._schema(answer)
        references: dict[str, str] = {}
        self._resolve(said.get("references"), references, set())
        schema = Schema(said.get("schemaType", "AVRO"), said["schema"], tuple(references.items()))
        _remember(self._by_id, number, schema)
        return schema

    def register(self, subject: str, schema: str, kind: str) -> int:
        """Register a schema if it is new, and return its id.

        Args:
            subject: by convention the topic's name with `-value`.
            schema: its text.
            kind: `AVRO`, `PROTOBUF` or `JSON`.

        Raises:
            RegistryUnavailable, RegistryRefused: the registry cannot be asked, or refuses the schema.
        """
        body = orjson.dumps({"schema": schema, "schemaType": kind})
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", body)
        number = answer.object().get("id")
        if not answer.fine or not isinstance(number, int):
            raise RegistryRefused(
                f"{self._name} refuses the schema for `{subject}`, {answer.status}: {answer.said}"
            )
        return number

    @property
    def _name(self) -> str:
        return f"the schema registry at {self._url} (kafka.schema_registry_url)"

    def _resolve(self, references: object, found: dict[str, str], opened: set[str]) -> None:
        """Fetch what a schema refers to, the innermost first."""
        for each in references if isinstance(references, list) else ():
            match each:
                case {"name": str(name), "subject": str(subject), "version": int(version)}:
                    pass
                case _:
                    raise SchemaUnusable("a schema refers to another one in a way that cannot be read")
            if name in opened:
                continue
            opened.add(name)
            if len(opened) > _MOST_REFERENCES:
                raise SchemaUnusable(f"a schema refers to more than {_MOST_REFERENCES} others")
            answer = self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/{version}")
            if answer.missing:
                raise SchemaUnusable("a schema refers to one that the registry does not have")
            said = self._schema(answer)
            self._resolve(said.get("references"), found, opened)
            found[name] = said["schema"]

    def _schema(self, answer: _Answer) -> dict[str, Any]:
        said = answer.object()
        if not answer.fine:
            raise RegistryUnavailable(f"{self._name} answers {answer.status}: {answer.said}")
        if not isinstance(said.get("schema"), str) or not isinstance(said.get("schemaType", ""), str):
            raise SchemaUnusable("the schema registry's answer holds no schema")
        return said

    def _ask(self, method: str, path: str, body: bytes | None = None) -> _Answer:
        """Send one request.

        Raises:
            RegistryUnavailable: no answer, or one that says to try again later.
            RegistryRefused: the login is refused, or one side does not trust the other's certificate.
        """
        headers = self._headers if body is None else {**self._headers, "content-type": _TYPE}
        try:
            response = self._pool.request(
                method, self._url + path, body=body, headers=headers, redirect=False, preload_content=False
            )
            try:
                data = response.read(_LARGEST + 1, decode_content=True)
            finally:
                response.release_conn()
        except self._errors as error:
            raise self._unanswered(error) from None
        answer = _Answer(response.status, data)
        if response.status in {401, 403}:
            raise RegistryRefused(f"{self._name} refuses the login, {response.status} ({self._login})")
        if response.status in {408, 429} or response.status >= 500:
            raise RegistryUnavailable(f"{self._name} answers {response.status}: {answer.said}")
        if len(data) > _LARGEST:
            raise SchemaUnusable(f"a schema is larger than {_LARGEST >> 20} MiB")
        return answer

    def _unanswered(self, error: Exception) -> RegistryError:
        """What it means that a request got no answer."""
        text = one_line(error, 500)
        refusal = self._tls_refusal(text)
        if refusal is None and self._url.startswith("https:"):
            refusal = self._tls_refusal(self._alert())
        if refusal is not None:
            return RegistryRefused(f"{self._name} cannot be reached over TLS: {refusal}")
        return RegistryUnavailable(f"{self._name} does not answer: {text[:200]}")

    def _tls_refusal(self, text: str) -> str | None:
        wanted = None if self._has_certificate else certificate_wanted(text, _TLS_NAMES)
        return wanted or tls_refusal(text, _TLS_NAMES)

    def _alert(self) -> str:
        """What the server says after the handshake if nothing is sent.

        A server that refuses the client's certificate says so then, and hangs up. Its words are lost if a
        request is under way at that moment.
        """
        address = urlsplit(self._url)
        context = self._tls or ssl.create_default_context()
        try:
            with (
                socket.create_connection((address.hostname, address.port or 443), _ALERT_S) as connection,
                context.wrap_socket(connection, server_hostname=address.hostname) as secured,
            ):
                secured.recv(1)
        except OSError as error:
            return one_line(error, 500)
        return ""


def _tls(kafka: KafkaSettings) -> ssl.SSLContext:
    """How to talk to the registry over TLS.

    Raises:
        SettingsError: a file cannot be used, or the key's password is wrong.
    """
    authorities, certificate = kafka.schema_registry_ca_file, kafka.schema_registry_cert_file
    setting = _TLS_NAMES["ca"]
    try:
        context = ssl.create_default_context(cafile=authorities)
        setting = _TLS_NAMES["certificate"]
        if certificate is not None:
            load_key(
                context,
                certificate,
                kafka.schema_registry_key_file,
                _revealed(kafka.schema_registry_key_password),
                password_setting="kafka.schema_registry_key_password",  # noqa: S106 - the setting's name
            )
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError([f"{setting} cannot be used: {one_line(error, 200)}"]) from None
    return context


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _sendable(token: str) -> str:
    """Check that a token can stand in a header.

    Raises:
        SettingsError: it cannot.
    """
    if not token.isascii() or not token.isprintable() or not token.strip():
        raise SettingsError(["kafka.schema_registry_token is empty, or has characters that no token has"])
    return token


def _remember(kept: dict[int | str, Known], number: int | str, known: Known) -> None:
    if len(kept) >= _MOST_KEPT:
        del kept[next(iter(kept))]
    kept[number] = known
