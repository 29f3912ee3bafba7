"""Logins that need more than a name and a password: OAUTHBEARER tokens, and AWS credentials for MSK.

A token comes from a command, or from a server for the client's credentials (RFC 6749, section 4.4). It is
fetched once for all clients of the process, and renewed in the background when most of its lifetime is over,
so that a client that logs in again does not wait for it.
"""

import base64
import binascii
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import cache
from http.client import HTTPException
from typing import Any, NamedTuple

import structlog
from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError
from kafka.net.sasl.oauth import AbstractTokenProvider

from worker.errors import SettingsError
from worker.settings.groups import KafkaSettings

FETCH_LIMIT_S = 5.0
"""The longest that a command or a server may take to answer."""

RETRY_S = 10.0
"""Between two attempts in the background."""

DEFAULT_LIFE_S = 300.0
"""Lifetime of a token that does not say how long it is valid."""

_FRESH_SHARE = 0.75
"""Share of its lifetime after which a token is replaced. The client logs in again at 85 to 95 % (KIP-368)."""

_ANSWER_LIMIT = 256 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_log = structlog.get_logger(__name__)


class TokenRefused(SaslAuthenticationFailedError):  # type: ignore[misc]  # kafka-python has no types
    """A token was refused; the message says why, without the secret. To the client, a refused login."""


class TokenUnavailable(KafkaConnectionError):  # type: ignore[misc]  # kafka-python has no types
    """No token can be fetched at the moment; the message says why. Worth trying again."""


class Token(NamedTuple):
    """A token, and for how many seconds it is valid."""

    text: str
    life_s: float


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """Returns a valid token, from any thread. The client asks at each login.

    A thread renews the token in the background for as long as clients ask for it. It ends when a token was
    never asked for, or ran out; the next login then fetches one itself and starts the thread again.

    Args:
        fetch: returns a new token; raises TokenRefused or TokenUnavailable.
    """

    def __init__(self, fetch: Callable[[], Token]) -> None:
        super().__init__()
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._since = 0.0
        self._asked = False
        self._closed = threading.Event()
        self._refresher: threading.Thread | None = None

    def token(self) -> str:
        """The token to log in with.

        Raises:
            TokenRefused, TokenUnavailable: there is no valid token, and none can be fetched.
        """
        with self._lock:
            if self._token is None or self._left_s(1.0) <= 0:
                self._since, self._token = time.monotonic(), self._fetch()
            self._asked = True
            if self._refresher is None and not self._closed.is_set():
                self._refresher = threading.Thread(target=self._refresh, name="oauth", daemon=True)
                self._refresher.start()
            return self._token.text

    def close(self) -> None:
        """Renew nothing any more, and wait until the thread has ended. A later login fetches for itself."""
        self._closed.set()
        if (thread := self._refresher) is not None:
            thread.join(FETCH_LIMIT_S + 1.0)

    def _left_s(self, share: float) -> float:
        """Seconds until this share of the token's lifetime is over."""
        return 0.0 if self._token is None else self._since + share * self._token.life_s - time.monotonic()

    def _refresh(self) -> None:
        wait_s = self._left_s(_FRESH_SHARE)
        while not self._closed.wait(max(0.1, wait_s)) and self._still_used():
            started = time.monotonic()
            try:
                token = self._fetch()
            except (TokenRefused, TokenUnavailable) as error:
                _log.warning("no new token", reason=str(error.args[0]), valid_for_s=round(self._left_s(1.0)))
                wait_s = RETRY_S
                continue
            with self._lock:
                self._since, self._token, self._asked = started, token, False
            wait_s = self._left_s(_FRESH_SHARE)

    def _still_used(self) -> bool:
        """Whether the token is valid and was asked for; if not, the thread is about to end."""
        with self._lock:
            used = self._asked and self._left_s(1.0) > 0
            if not used:
                self._refresher = None
            return used


def login_options(kafka: KafkaSettings) -> dict[str, Any]:
    """The client's arguments for the mechanisms in this file; empty for the others.

    Raises:
        SettingsError: the AWS packages, a region or credentials are missing.
    """
    if kafka.sasl_mechanism == "AWS_MSK_IAM":
        _check_aws()
    if kafka.sasl_mechanism != "OAUTHBEARER":
        return {}
    secret = kafka.sasl_oauth_client_secret
    provider = _provider(
        kafka.sasl_oauth_token_command,
        kafka.sasl_oauth_token_url,
        kafka.sasl_oauth_client_id,
        None if secret is None else secret.get_secret_value(),
        kafka.sasl_oauth_scope,
    )
    return {"sasl_oauth_token_provider": provider}


@cache
def _provider(
    command: str | None, url: str | None, client_id: str | None, secret: str | None, scope: str | None
) -> TokenProvider:
    """The one provider for these settings."""
    if command is not None:
        return TokenProvider(lambda: from_command(command))
    return TokenProvider(lambda: from_server(url or "", client_id or "", secret or "", scope))


@cache
def _check_aws() -> None:
    """Say what is missing for AWS_MSK_IAM. The client would fail at each login, and not say why."""
    try:
        from botocore.session import Session  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError:
        raise SettingsError(
            ["kafka.sasl_mechanism AWS_MSK_IAM needs: pip install 'moodstream[msk]'"]
        ) from None
    session = Session()
    if not session.get_config_variable("region"):
        raise SettingsError(["kafka.sasl_mechanism AWS_MSK_IAM: no region; set AWS_DEFAULT_REGION"])
    if session.get_credentials() is None:
        raise SettingsError(["kafka.sasl_mechanism AWS_MSK_IAM: no AWS credentials were found"])


def from_command(command: str) -> Token:
    """Run a command, and take what it prints as the token.

    Raises:
        TokenRefused: it cannot be run, fails, or prints something else. What it prints is never repeated.
        TokenUnavailable: it takes too long.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "it is not a command"
        raise TokenRefused(f"kafka.sasl_oauth_token_command cannot be run: {reason}") from None
    try:
        output, _ = process.communicate(timeout=FETCH_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise TokenUnavailable(
            f"kafka.sasl_oauth_token_command takes longer than {FETCH_LIMIT_S:g} s"
        ) from None
    if process.returncode != 0:
        raise TokenRefused(f"kafka.sasl_oauth_token_command ends with exit code {process.returncode}")
    return _token(output.decode(errors="replace").strip(), None, "kafka.sasl_oauth_token_command prints no")


def from_server(url: str, client_id: str, secret: str, scope: str | None) -> Token:
    """Ask a server for a token with the client's credentials.

    Raises:
        TokenRefused: it answers without a token.
        TokenUnavailable: it does not answer, or reports an error of its own.
    """
    form = {"grant_type": "client_credentials"} | ({} if scope is None else {"scope": scope})
    login = f"{urllib.parse.quote_plus(client_id)}:{urllib.parse.quote_plus(secret)}"
    request = urllib.request.Request(  # noqa: S310 - the settings take http and https only
        url,
        data=urllib.parse.urlencode(form).encode(),
        headers={"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"},
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=FETCH_LIMIT_S) as answer:
            content = answer.read(_ANSWER_LIMIT)
    except urllib.error.HTTPError as error:
        kind = TokenUnavailable if error.code >= 500 or error.code == 429 else TokenRefused
        raise kind(f"kafka.sasl_oauth_token_url answers {error.code}{_oauth_error(error)}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise TokenUnavailable(f"kafka.sasl_oauth_token_url cannot be reached: {reason}") from None
    try:
        body = json.loads(content)
        text, life = str(body["access_token"]), body.get("expires_in")
        life_s = None if life is None else float(life)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise TokenRefused("kafka.sasl_oauth_token_url answers without a token") from None
    return _token(text, life_s, "kafka.sasl_oauth_token_url gives no")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the secret to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _oauth_error(error: urllib.error.HTTPError) -> str:
    """The error code from RFC 6749, such as `invalid_client`; nothing else of the answer."""
    try:
        reason = str(json.loads(error.read(_ANSWER_LIMIT))["error"])
    except (OSError, HTTPException, ValueError, TypeError, KeyError, RecursionError):
        return ""
    return f": {reason}" if re.fullmatch(r"[a-z_]{1,40}", reason) else ""


def _token(text: str, life_s: float | None, prints_no: str) -> Token:
    if _TOKEN.fullmatch(text) is None:
        raise TokenRefused(f"{prints_no} token")
    if life_s is None:
        life_s = _life_of_jwt(text)
    if not 0 < life_s < float("inf"):
        raise TokenRefused(f"{prints_no} token that is still valid")
    return Token(text, life_s)


def _life_of_jwt(text: str) -> float:
    """Seconds until a JSON Web Token expires (RFC 7519); the default for any other token."""
    try:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - time.time()
    except (IndexError, ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        return DEFAULT_LIFE_S
