"""Certificates for the tests, made with the openssl command: one authority, one broker, one client."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """PEM files. Those named `…_all` hold key, certificate and authority in one, as the broker wants them."""

    authority: Path
    stranger: Path
    """An authority that signed nothing here."""
    broker_all: Path
    """For 127.0.0.1."""
    elsewhere_all: Path
    """For another host name."""
    expired_all: Path
    """For 127.0.0.1, and no longer valid."""
    client: Path
    client_key: Path


def available() -> bool:
    """Whether they can be made."""
    return shutil.which("openssl") is not None


def make_certificates(folder: Path) -> Certificates:
    """Make them all; valid for two days."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("authority", "stranger"):
        self_signed = ("-x509", "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE")
        _openssl(folder, "req", *self_signed, *_new_key(name), "-out", f"{name}.pem", "-subj", f"/CN={name}")
    _sign(folder, "broker", "IP:127.0.0.1")
    _sign(folder, "elsewhere", "DNS:kafka.example.org")
    _sign(folder, "expired", "IP:127.0.0.1", days=-1)
    _sign(folder, "client", "DNS:client")
    for name in ("broker", "elsewhere", "expired"):
        parts = [(folder / part).read_text() for part in (f"{name}.key", f"{name}.pem", "authority.pem")]
        (folder / f"{name}-all.pem").write_text("".join(parts))
    return Certificates(
        authority=folder / "authority.pem",
        stranger=folder / "stranger.pem",
        broker_all=folder / "broker-all.pem",
        elsewhere_all=folder / "elsewhere-all.pem",
        expired_all=folder / "expired-all.pem",
        client=folder / "client.pem",
        client_key=folder / "client.key",
    )


def _sign(folder: Path, name: str, host: str, days: int = 2) -> None:
    _openssl(folder, "req", *_new_key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}")
    (folder / f"{name}.ext").write_text(f"subjectAltName={host}\n")
    signer = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", str(days))
    request = ("-in", f"{name}.csr", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    _openssl(folder, "x509", "-req", *request, *signer)


def _new_key(name: str) -> tuple[str, ...]:
    # Kafka reads PKCS#8, which `req -newkey` writes.
    return ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")


def _openssl(folder: Path, *arguments: str) -> None:
    result = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    if result.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {result.stderr}")
