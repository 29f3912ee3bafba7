"""Tokens for OAUTHBEARER, from a command and from a server; AWS credentials for MSK."""

import base64
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from kafka.net.sasl.msk import SaslMechanismAwsMskIam
from kafka.net.sasl.oauth import SaslMechanismOAuth
from pydantic import SecretStr

from worker.errors import BrokerRefused, BrokerUnavailable, SettingsError
from worker.kafka import login
from worker.kafka.diagnose import explain
from worker.kafka.login import Token, TokenProvider, TokenRefused, TokenUnavailable, from_command, from_server
from worker.kafka.options import client_options
from worker.settings.groups import KafkaSettings


def jwt(life_s: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + life_s}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{claims}."


def printing(text: str) -> str:
    return f"{sys.executable} -c 'print(\"{text}\")'"


class Server:
    """A server of tokens. `answer` is what it says next; `requests` what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: bytes = b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 60}'
        self.location = ""
        self.requests: list[tuple[str, dict[str, list[str]]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                outer.requests.append((self.headers["Authorization"], form))
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()
                self.wfile.write(outer.answer)

            do_GET = do_POST  # noqa: N815 - http.server's name

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/token"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_a_command_prints_the_token() -> None:
    assert from_command(printing("abc.def")).text == "abc.def"
    assert from_command(printing("opaque")).life_s == login.DEFAULT_LIFE_S
    assert 990 < from_command(printing(jwt(1_000))).life_s <= 1_000


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/no/such/command", "cannot be run: No such file or directory"),
        ("'unclosed", "cannot be run: it is not a command"),
        (" ", "cannot be run: it is not a command"),
        (f"{sys.executable} -c 'print(\"hunter2\"); exit(3)'", "ends with exit code 3"),
        (printing("hunter2 and more"), "prints no token"),
        (printing(""), "prints no token"),
        (printing(jwt(-10)), "prints no token that is still valid"),
    ],
    ids=["not there", "unclosed quote", "blank", "exit code", "two words", "nothing", "expired"],
)
def test_a_command_that_gives_no_token_says_why_and_not_what(command: str, reason: str) -> None:
    with pytest.raises(TokenRefused) as caught:
        from_command(command)
    text = str(explain(caught.value, "b:1"))
    assert text == f"b:1 cannot be logged in to: kafka.sasl_oauth_token_command {reason}"
    assert isinstance(explain(caught.value, "b:1"), BrokerRefused)


def test_a_command_that_hangs_is_ended_with_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "FETCH_LIMIT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(TokenUnavailable, match="takes longer than") as caught:
        from_command("sh -c 'sleep 30; echo abc'")
    assert time.monotonic() - started < 5
    assert isinstance(explain(caught.value, "b:1"), BrokerUnavailable)


def test_a_server_is_asked_with_the_credentials(server: Server) -> None:
    assert from_server(server.url, "me & you", "s:ecret/", "kafka all") == Token("abc", 60)
    ((authorization, form),) = server.requests
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"me+%26+you:s%3Aecret%2F"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka all"]}


@pytest.mark.parametrize(
    ("status", "answer", "kind", "reason"),
    [
        (401, b'{"error": "invalid_client"}', TokenRefused, "answers 401: invalid_client"),
        (400, b'{"error": "the secret hunter2 is wrong"}', TokenRefused, "answers 400"),
        (302, b"", TokenRefused, "answers 302"),
        (503, b"hunter2", TokenUnavailable, "answers 503"),
        (429, b"", TokenUnavailable, "answers 429"),
        (200, b"hunter2", TokenRefused, "answers without a token"),
        (200, b"[" * 100_000, TokenRefused, "answers without a token"),
        (200, b'{"access_token": "a b"}', TokenRefused, "gives no token"),
        (
            200,
            b'{"access_token": "abc", "expires_in": 0}',
            TokenRefused,
            "gives no token that is still valid",
        ),
        (200, b'{"access_token": "abc", "expires_in": "x"}', TokenRefused, "answers without a token"),
    ],
)
def test_a_server_that_gives_no_token_says_why(
    server: Server, status: int, answer: bytes, kind: type[Exception], reason: str
) -> None:
    server.status, server.answer, server.location = status, answer, server.url
    with pytest.raises(kind) as caught:
        from_server(server.url, "me", "hunter2", None)
    assert str(caught.value).endswith(f"kafka.sasl_oauth_token_url {reason}")
    assert len(server.requests) == 1


def test_a_server_that_does_not_listen_is_worth_another_try() -> None:
    with pytest.raises(TokenUnavailable, match="cannot be reached"):
        from_server("http://127.0.0.1:1/token", "me", "hunter2", None)


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread goes on renewing a token after its test: it would warn in the midst of another one."""
    made: list[TokenProvider] = []
    start = TokenProvider.__init__

    def begin(self: TokenProvider, fetch: Callable[[], Token]) -> None:
        start(self, fetch)
        made.append(self)

    monkeypatch.setattr(TokenProvider, "__init__", begin)
    yield
    login._provider.cache_clear()
    for provider in made:
        provider.close()
    assert "oauth" not in {thread.name for thread in threading.enumerate()}


def test_a_token_that_nobody_asks_for_is_not_renewed_for_ever() -> None:
    fetched: list[float] = []

    def fetch() -> Token:
        fetched.append(time.monotonic())
        return Token(f"token-{len(fetched)}", 0.6)

    provider = TokenProvider(fetch)
    assert provider.token() == "token-1"
    time.sleep(2.5)
    assert len(fetched) == 2, "once in the background, and not again: that one was not asked for"
    assert provider.token() == "token-3"
    time.sleep(0.55)
    assert provider.token() == "token-4", "renewed in the background again"


def test_a_token_that_ran_out_is_fetched_by_the_next_login_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "RETRY_S", 0.05)
    answers = iter([Token("old", 0.6)])
    asked: list[float] = []

    def fetch() -> Token:
        asked.append(time.monotonic())
        try:
            return next(answers)
        except StopIteration:
            raise TokenUnavailable("away") from None

    provider = TokenProvider(fetch)
    assert provider.token() == "old"
    time.sleep(1.2)
    tries = len(asked)
    assert tries > 2
    time.sleep(0.5)
    assert len(asked) == tries, "nobody is served by trying on in the background"
    with pytest.raises(TokenUnavailable, match="away"):
        provider.token()


def test_a_token_is_fetched_once_and_again_before_it_ends() -> None:
    fetched: list[float] = []

    def fetch() -> Token:
        fetched.append(time.monotonic())
        return Token(f"token-{len(fetched)}", 0.8)

    provider = TokenProvider(fetch)
    assert [provider.token() for _ in range(5)] == ["token-1"] * 5
    time.sleep(0.72)
    assert provider.token() == "token-2", "after three quarters of its life, in the background"
    assert fetched[1] - fetched[0] < 0.8


def test_the_old_token_is_kept_while_no_new_one_can_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "RETRY_S", 0.05)
    answers = iter([Token("old", 2.0)])
    gone = threading.Event()

    def fetch() -> Token:
        try:
            return next(answers)
        except StopIteration:
            if gone.is_set():
                return Token("new", 60)
            raise TokenUnavailable("away") from None

    provider = TokenProvider(fetch)
    assert provider.token() == "old"
    time.sleep(1.7)
    assert provider.token() == "old"
    gone.set()
    time.sleep(0.5)
    assert provider.token() == "new"


def test_all_clients_share_one_provider_which_the_client_takes(server: Server) -> None:
    settings = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_url=server.url,
        sasl_oauth_client_id="me",
        sasl_oauth_client_secret=SecretStr("hunter2"),
    )
    for _ in range(3):
        mechanism = SaslMechanismOAuth(**client_options(settings))
        assert mechanism.auth_bytes() == b"n,,\x01auth=Bearer abc\x01\x01"
    assert len(server.requests) == 1


MSK = KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="AWS_MSK_IAM")


@pytest.fixture
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    login._check_aws.cache_clear()
    yield
    login._check_aws.cache_clear()


@pytest.mark.usefixtures("_aws")
def test_aws_credentials_and_region_come_from_where_aws_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    with pytest.raises(SettingsError, match="no region; set AWS_DEFAULT_REGION"):
        client_options(MSK)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with pytest.raises(SettingsError, match="no AWS credentials were found"):
        client_options(MSK)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    mechanism = SaslMechanismAwsMskIam(host="b-1.msk.example", **client_options(MSK))
    message = json.loads(mechanism.auth_bytes())
    assert message["host"] == "b-1.msk.example"
    assert message["action"] == "kafka-cluster:Connect"
    assert message["x-amz-credential"].startswith("AKIAEXAMPLE/")
    assert message["x-amz-credential"].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert "hunter2" not in str(message)


@pytest.mark.usefixtures("_aws")
def test_without_the_extra_aws_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(SettingsError, match=r"needs: pip install 'moodstream\[msk\]'"):
        client_options(MSK)
