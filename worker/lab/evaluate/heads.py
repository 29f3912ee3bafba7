"""Older names of `worker.heads`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.heads import read_heads as read_all

__all__ = ["MULTI", "SINGLE", "TOKEN", "HeadInfo", "head_info", "read_heads"]

TOKEN = TOKENS
HeadInfo = Head


def head_info(head: Head) -> Head:
    """Return the head."""
    return head


def read_heads(config: Mapping[str, Any], path: Path) -> dict[str, Head]:
    """Return the heads of a `config.json` by name. Raises PackError."""
    return {head.name: head for head in read_all(config, path)}
