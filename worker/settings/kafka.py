"""How to reach the brokers: addresses, login, TLS, and the mistakes among them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from worker.settings.base import Conflict, Group
from worker.settings.values import BrokerList, ReadableFile, Url

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]


class KafkaSettings(Group):
    """How to reach the brokers. Names are kafka-python's own."""

    bootstrap_servers: BrokerList = Field(
        default=["localhost:9092"],
        min_length=1,
        description="Brokers to ask first, each as `host:port`; they name the others.",
    )
    client_id: str = Field(
        default="moodstream",
        min_length=1,
        max_length=1_000,
        description="Name of the clients in the logs and quotas of the brokers.",
    )
    security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT",
        description="How to talk to the brokers: `SSL` encrypts, `SASL_…` logs in.",
    )
    sasl_mechanism: SaslMechanism | None = Field(
        default=None,
        description="How to log in. Needed with `SASL_PLAINTEXT` and `SASL_SSL`. `AWS_MSK_IAM` takes the "
        "credentials and the region as other AWS programs do, and needs the extra `msk`.",
    )
    sasl_plain_username: str | None = Field(
        default=None,
        description="User name, for PLAIN and SCRAM alike.",
    )
    sasl_plain_password: SecretStr | None = Field(
        default=None,
        description="Password, for PLAIN and SCRAM alike. As a flag it shows in the process list: "
        "prefer the variable or the file.",
    )
    sasl_oauth_token_command: str | None = Field(
        default=None,
        min_length=1,
        description="For OAUTHBEARER: a command that prints a token, run without a shell, and again before "
        "the token expires.",
    )
    sasl_oauth_token_url: Url | None = Field(
        default=None,
        description="For OAUTHBEARER: the server that gives a token for the client's credentials. Use "
        "`https`.",
    )
    sasl_oauth_client_id: str | None = Field(
        default=None,
        min_length=1,
        description="For OAUTHBEARER with a URL: the client's id.",
    )
    sasl_oauth_client_secret: SecretStr | None = Field(
        default=None,
        description="For OAUTHBEARER with a URL: the client's secret. As a flag it shows in the process "
        "list: prefer the variable or the file.",
    )
    sasl_oauth_scope: str | None = Field(
        default=None,
        min_length=1,
        description="For OAUTHBEARER with a URL: the scope to ask for.",
    )
    ssl_cafile: ReadableFile | None = Field(
        default=None,
        description="PEM file with the certificate authorities to trust; those of the system when empty.",
    )
    ssl_certfile: ReadableFile | None = Field(
        default=None,
        description="PEM file with the client's certificate, for mutual TLS.",
    )
    ssl_keyfile: ReadableFile | None = Field(
        default=None,
        description="PEM file with the client's private key; empty when `ssl_certfile` holds it too.",
    )
    ssl_password: SecretStr | None = Field(
        default=None,
        description="Password of the private key. As a flag it shows in the process list: "
        "prefer the variable or the file.",
    )
    ssl_check_hostname: bool = Field(
        default=True,
        description="Check that the broker's certificate names its host.",
    )
    schema_registry_url: Url | None = Field(
        default=None,
        description="Schema registry with Confluent's API: messages in Avro and Protobuf are read with its "
        "schemas. Needs the extra `registry`.",
    )
    schema_registry_username: str | None = Field(
        default=None,
        min_length=1,
        description="User name at the schema registry, or the key of an API key.",
    )
    schema_registry_password: SecretStr | None = Field(
        default=None,
        description="Password at the schema registry, or the secret of an API key. As a flag it shows in the "
        "process list: prefer the variable or the file.",
    )
    schema_registry_token: SecretStr | None = Field(
        default=None,
        description="Bearer token for the schema registry, instead of user name and password. As a flag it "
        "shows in the process list: prefer the variable or the file.",
    )
    schema_registry_ca_file: ReadableFile | None = Field(
        default=None,
        description="PEM file with the certificate authorities to trust for the schema registry; those of "
        "the system when empty.",
    )
    schema_registry_cert_file: ReadableFile | None = Field(
        default=None,
        description="PEM file with the client's certificate for the schema registry, for mutual TLS.",
    )
    schema_registry_key_file: ReadableFile | None = Field(
        default=None,
        description="PEM file with the private key of that certificate; empty when "
        "`schema_registry_cert_file` holds it too.",
    )
    schema_registry_key_password: SecretStr | None = Field(
        default=None,
        description="Password of that private key. As a flag it shows in the process list: prefer the "
        "variable or the file.",
    )
    connect_limit_s: float = Field(
        default=300.0,
        gt=0,
        description="How long to try while no broker answers, before the worker exits. Seconds.",
    )
    metadata_max_age_ms: int = Field(
        default=30_000,
        ge=1_000,
        description="How soon a partition that was added to an input topic is noticed. Milliseconds.",
    )

    def conflicts(self) -> Iterable[Conflict]:
        """Login and TLS settings that do not fit one another."""
        yield from self._login_conflicts()
        yield from self._tls_conflicts()
        yield from self._registry_conflicts()

    def _registry_conflicts(self) -> Iterable[Conflict]:
        url, user, password, token = (
            f"{_REGISTRY}{part}" for part in ("url", "username", "password", "token")
        )
        given = [name for name in _REGISTRY_FIELDS if getattr(self, name) is not None]
        if self.schema_registry_url is None:
            yield from (Conflict((f"kafka.{name}", url), f"would be ignored without {url}") for name in given)
            return
        if (self.schema_registry_username is None) != (self.schema_registry_password is None):
            missing, has = (user, password) if self.schema_registry_username is None else (password, user)
            yield Conflict((missing, has), f"is needed with {has}")
        elif self.schema_registry_token is not None and self.schema_registry_username is not None:
            yield Conflict((token, user), f"cannot be used together with {user}: choose one of them")
        if not self.schema_registry_url.startswith("https:"):
            for name in given:
                if name.endswith(("_file", "_key_password")):
                    yield Conflict((f"kafka.{name}", url), f"would be ignored: {url} is not an https address")
            return
        yield from _key_conflicts(
            (f"{_REGISTRY}cert_file", self.schema_registry_cert_file),
            (f"{_REGISTRY}key_file", self.schema_registry_key_file),
            (f"{_REGISTRY}key_password", self.schema_registry_key_password),
        )

    def _login_conflicts(self) -> Iterable[Conflict]:
        protocol, mechanism = "kafka.security_protocol", "kafka.sasl_mechanism"
        given = [f"kafka.{name}" for name in _LOGIN_FIELDS if getattr(self, name) is not None]
        if not self.security_protocol.startswith("SASL"):
            ignored = f"would be ignored: {protocol} is {self.security_protocol}, and only SASL_… logs in"
            yield from (Conflict((name, protocol), ignored) for name in given)
            return
        if self.sasl_mechanism is None:
            yield Conflict((mechanism, protocol), f"is needed with {protocol} {self.security_protocol}")
        elif self.sasl_mechanism == "AWS_MSK_IAM" and self.security_protocol != "SASL_SSL":
            yield Conflict((protocol, mechanism), "must be SASL_SSL with kafka.sasl_mechanism AWS_MSK_IAM")
        needed, optional = self._login_parts()
        for name in needed:
            if name not in given:
                other = ", or kafka.sasl_oauth_token_command" if name == "kafka.sasl_oauth_token_url" else ""
                message = f"is needed with {protocol} {self.security_protocol}{other}"
                yield Conflict((name, protocol, mechanism), message)
        command = "kafka.sasl_oauth_token_command"
        for name in given:
            if name not in {mechanism, *needed, *optional}:
                reason = f"{command} is set" if command in needed else f"{mechanism} is {self.sasl_mechanism}"
                yield Conflict((name, mechanism, command), f"would be ignored: {reason}")

    def _login_parts(self) -> tuple[list[str], list[str]]:
        """The settings that the mechanism needs, and those that it takes besides."""
        if self.sasl_mechanism == "AWS_MSK_IAM":
            return [], []
        if self.sasl_mechanism != "OAUTHBEARER":
            return ["kafka.sasl_plain_username", "kafka.sasl_plain_password"], []
        if self.sasl_oauth_token_command is not None:
            return ["kafka.sasl_oauth_token_command"], []
        client = ["kafka.sasl_oauth_client_id", "kafka.sasl_oauth_client_secret"]
        if self.sasl_oauth_token_url is None:
            return ["kafka.sasl_oauth_token_url"], [*client, "kafka.sasl_oauth_scope"]
        return ["kafka.sasl_oauth_token_url", *client], ["kafka.sasl_oauth_scope"]

    def _tls_conflicts(self) -> Iterable[Conflict]:
        protocol = "kafka.security_protocol"
        if not self.security_protocol.endswith("SSL"):
            ignored = (
                f"would be ignored: {protocol} is {self.security_protocol}, and only SSL and SASL_SSL encrypt"
            )
            for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password"):
                if getattr(self, name) is not None:
                    yield Conflict((f"kafka.{name}", protocol), ignored)
            return
        yield from _key_conflicts(
            ("kafka.ssl_certfile", self.ssl_certfile),
            ("kafka.ssl_keyfile", self.ssl_keyfile),
            ("kafka.ssl_password", self.ssl_password),
        )


def _key_conflicts(
    certificate: tuple[str, Path | None], key: tuple[str, Path | None], password: tuple[str, object]
) -> Iterable[Conflict]:
    """A client's certificate without its key, or the other way round. Each comes with its setting's name."""
    (cert_name, cert_file), (key_name, key_file) = certificate, key
    if password[1] is not None and cert_file is None and key_file is None:
        yield Conflict((password[0], cert_name), f"would be ignored without {cert_name}")
    if key_file is not None and cert_file is None:
        yield Conflict((cert_name, key_name), f"is needed with {key_name}")
    # One PEM file may hold both, certificate and key.
    if cert_file is not None and key_file is None and b"PRIVATE KEY-----" not in cert_file.read_bytes():
        yield Conflict((key_name, cert_name), f"is needed: {cert_name} holds no private key")


_REGISTRY = "kafka.schema_registry_"
_LOGIN_FIELDS = tuple(name for name in KafkaSettings.model_fields if name.startswith("sasl_"))
_REGISTRY_FIELDS = tuple(
    name
    for name in KafkaSettings.model_fields
    if name.startswith("schema_registry_") and name != "schema_registry_url"
)
