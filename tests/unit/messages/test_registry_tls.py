"""TLS and logins at the schema registry: what works, and the one line that says why something does not."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import certificates
from tests.support.certificates import Certificates
from tests.support.scripted_registry import ScriptedRegistry
from worker.errors import RegistryRefused, RegistryUnavailable, SettingsError
from worker.messages.registry import Registry
from worker.settings.groups import KafkaSettings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not certificates.available():
        pytest.skip("the openssl command is missing")
    return certificates.make_certificates(tmp_path_factory.mktemp("certificates"))


def serving(identity: Path, trusted: Path | None = None) -> ssl.SSLContext:
    """A server's side of TLS; with `trusted` it wants a client certificate from that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    if trusted is not None:
        context.load_verify_locations(trusted)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def registry(url: str, **values: Any) -> Registry:
    settings = {f"schema_registry_{name}": value for name, value in values.items()}
    found = Registry.of(KafkaSettings(schema_registry_url=url, **settings))
    assert found is not None
    return found


def test_its_own_authority(made: Certificates) -> None:
    with ScriptedRegistry({7: {"schema": '"string"'}}, tls=serving(made.broker_all)) as server:
        reader = registry(server.url, ca_file=made.authority)
        reader.check()
        assert reader.schema(7).text == '"string"'


def test_a_client_certificate_with_its_key_beside_it_or_in_the_same_file(
    made: Certificates, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(made.client.read_bytes() + made.client_key.read_bytes())
    with ScriptedRegistry(tls=serving(made.broker_all, made.authority)) as server:
        registry(server.url, ca_file=made.authority, cert_file=made.client, key_file=made.client_key).check()
        registry(server.url, ca_file=made.authority, cert_file=both).check()


@pytest.mark.parametrize(
    ("server_side", "client_side", "says"),
    [
        (
            lambda made: serving(made.broker_all),
            lambda made: {"ca_file": made.stranger},
            "not signed by a trusted authority (kafka.schema_registry_ca_file)",
        ),
        (
            lambda made: serving(made.broker_all),
            lambda made: {},
            "not signed by a trusted authority (kafka.schema_registry_ca_file)",
        ),
        (
            lambda made: serving(made.elsewhere_all),
            lambda made: {"ca_file": made.authority},
            "does not name this address (kafka.schema_registry_url)",
        ),
        (
            lambda made: serving(made.expired_all),
            lambda made: {"ca_file": made.authority},
            "its certificate has expired",
        ),
        (
            lambda made: serving(made.broker_all, made.authority),
            lambda made: {"ca_file": made.authority},
            "wants a client certificate (kafka.schema_registry_cert_file, kafka.schema_registry_key_file)",
        ),
        (
            lambda made: serving(made.broker_all, made.stranger),
            lambda made: {
                "ca_file": made.authority,
                "cert_file": made.client,
                "key_file": made.client_key,
            },
            "does not trust the authority of the client certificate (kafka.schema_registry_cert_file)",
        ),
    ],
    ids=["another authority", "the system's", "wrong host", "expired", "no certificate", "a stranger's"],
)
def test_a_refusal_is_one_line_that_names_the_setting(
    made: Certificates,
    server_side: Callable[[Certificates], ssl.SSLContext],
    client_side: Callable[[Certificates], dict[str, Any]],
    says: str,
) -> None:
    with ScriptedRegistry(tls=server_side(made)) as server:
        reader = registry(server.url, **client_side(made))
        with pytest.raises(RegistryRefused) as refused:
            reader.check()
    line = str(refused.value)
    assert line.startswith(
        f"the schema registry at {server.url} (kafka.schema_registry_url) cannot be reached"
    )
    assert says in line
    assert "\n" not in line


def test_a_port_without_tls(made: Certificates) -> None:
    with ScriptedRegistry() as server:
        reader = registry(server.url.replace("http:", "https:"), ca_file=made.authority)
        with pytest.raises(RegistryRefused, match="does not speak TLS on this port"):
            reader.check()


def test_a_port_with_tls_asked_without(made: Certificates) -> None:
    with ScriptedRegistry(tls=serving(made.broker_all)) as server:
        reader = registry(server.url.replace("https:", "http:"))
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            reader.check()


def test_files_that_cannot_be_used(made: Certificates, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(SettingsError, match=r"kafka.schema_registry_ca_file cannot be used"):
        registry("https://r", ca_file=empty)
    with pytest.raises(SettingsError, match=r"kafka.schema_registry_cert_file cannot be used"):
        registry("https://r", cert_file=made.client, key_file=empty)


def test_an_encrypted_key_is_one_line_and_no_question(made: Certificates, tmp_path: Path) -> None:
    key = tmp_path / "encrypted.key"
    command = [
        "openssl",
        "pkey",
        "-in",
        str(made.client_key),
        "-aes256",
        "-passout",
        "pass:right",
        "-out",
        str(key),
    ]
    subprocess.run(command, check=True, capture_output=True)
    files = {"ca_file": made.authority, "cert_file": made.client, "key_file": key}
    with pytest.raises(
        SettingsError, match=r"kafka.schema_registry_key_password is needed: the private key in"
    ):
        registry("https://r", **files)
    with pytest.raises(SettingsError, match=r"kafka.schema_registry_key_password is not the right one"):
        registry("https://r", **files, key_password="wrong")
    with ScriptedRegistry(tls=serving(made.broker_all, made.authority)) as server:
        registry(server.url, **files, key_password="right").check()


def test_a_token() -> None:
    with ScriptedRegistry(token="abc.def") as server:
        registry(server.url, token="abc.def").check()
        with pytest.raises(RegistryRefused, match=r"refuses the login, 401 \(kafka.schema_registry_token\)$"):
            registry(server.url, token="expired").check()


@pytest.mark.parametrize("token", ["two\nlines", "täglich", " "])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(SettingsError, match=r"kafka.schema_registry_token") as refused:
        registry("http://r", token=token)
    assert token.strip() == "" or token not in str(refused.value)


def test_a_password_in_any_script() -> None:
    with ScriptedRegistry(login="мы:пароль") as server:
        registry(server.url, username="мы", password="пароль").check()
