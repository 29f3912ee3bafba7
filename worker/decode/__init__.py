"""Bytes to a message: JSON, bare text, CloudEvents, a schema registry's framing; typed errors."""

from worker.decode.errors import DecodeError
from worker.decode.record import decode

__all__ = ["DecodeError", "decode"]
