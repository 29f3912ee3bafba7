"""TLS for the brokers and for the schema registry: what a failure means, and how a private key is opened."""

import ssl
from collections.abc import Mapping
from pathlib import Path

from worker.errors import SettingsError

_NO_CERTIFICATE = "it wants a client certificate ({certificate}, {key})"
_UNTRUSTED = "its certificate is not signed by a trusted authority ({ca})"
_NO_TLS = "it does not speak TLS on this port ({protocol})"

_REFUSALS: tuple[tuple[str, str], ...] = (
    ("certificate has expired", "its certificate has expired"),
    ("not yet valid", "its certificate is not valid yet: is this machine's clock right?"),
    ("hostname mismatch", "its certificate does not name this host ({host})"),
    ("ip address mismatch", "its certificate does not name this address ({host})"),
    ("certificate_verify_failed", _UNTRUSTED),
    ("certificate verify failed", _UNTRUSTED),
    ("alert certificate required", _NO_CERTIFICATE),
    ("certificate expired", "it says that the client certificate has expired ({certificate})"),
    ("unknown ca", "it does not trust the authority of the client certificate ({certificate})"),
    ("bad certificate", "it does not accept the client certificate ({certificate}, {key})"),
    ("certificate unknown", "it does not accept the client certificate ({certificate})"),
    ("certificate revoked", "it says that the client certificate was revoked ({certificate})"),
    ("wrong_version_number", _NO_TLS),
    ("wrong version number", _NO_TLS),
    ("record layer failure", _NO_TLS),
    ("packet length too long", _NO_TLS),
)
"""What OpenSSL says, in lower case, and what it means. The first matching row applies."""

_ABOUT_THE_CLIENTS_CERTIFICATE = ("unknown ca", "bad certificate", "certificate unknown", "handshake failure")


def tls_refusal(text: str, names: Mapping[str, str]) -> str | None:
    """What the text of an error means, or None if it is not about TLS.

    Args:
        text: the error's message.
        names: the settings to name, for `ca`, `certificate`, `key`, `protocol` and `host`.
    """
    lowered = text.lower()
    return next((meaning.format_map(names) for sign, meaning in _REFUSALS if sign in lowered), None)


def certificate_wanted(text: str, names: Mapping[str, str]) -> str | None:
    """What the text of an error means for a client without a certificate; None if it is about something else.

    A server that wants a client certificate gives the same answer to a missing one as to one that it rejects.
    """
    lowered = text.lower()
    alert = "alert" in lowered and any(sign in lowered for sign in _ABOUT_THE_CLIENTS_CERTIFICATE)
    return _NO_CERTIFICATE.format_map(names) if alert else None


def load_key(
    context: ssl.SSLContext,
    certificate: Path,
    key: Path | None,
    secret: str | None,
    *,
    password_setting: str,
) -> None:
    """Load the client's certificate and its private key.

    OpenSSL asks on the terminal for a password that is missing; here it is told a wrong one instead.

    Args:
        context: where to load them.
        certificate: PEM file.
        key: PEM file; None if `certificate` holds the key too.
        secret: the key's password.
        password_setting: the setting that holds it.

    Raises:
        SettingsError: the key is encrypted and the password is missing or wrong.
        OSError: the files cannot be read, or do not belong together (`ssl.SSLError`).
    """
    asked: list[Path] = []

    def password() -> str:
        asked.append(key or certificate)
        return secret or ""

    try:
        context.load_cert_chain(certificate, key, password=password)
    except (OSError, ValueError) as error:
        if not asked:
            raise
        wrong = "is needed" if secret is None else "is not the right one"
        raise SettingsError(
            [f"{password_setting} {wrong}: the private key in {asked[0]} is encrypted"]
        ) from error
