"""The tokenizer's files beside a model, as transformers looks for them."""

import json
from pathlib import Path
from typing import Any

from worker.classify.pack import TOKENIZER
from worker.convert.tokenizer_files import write_tokenizer
from worker.export.errors import ExportError

_ROLES = ("pad", "unk", "cls", "sep", "mask")


def write_tokenizer_files(model: Path, folder: Path, max_tokens: int) -> None:
    """Write `tokenizer.json` of the model in a folder, `tokenizer_config.json` and `special_tokens_map.json`.

    Raises:
        CheckpointError, ExportError: the model has no tokenizer, or one that cannot be read.
    """
    write_tokenizer(model, folder / TOKENIZER)
    special = special_tokens(folder / TOKENIZER)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        # DistilBERT takes no token types, which this class would give it.
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_tokens,
        "clean_up_tokenization_spaces": False,
        # "[SEP]" typed by a user is text, as it is in a pack.
        "split_special_tokens": True,
        **special,
    }
    for name, value in (("tokenizer_config.json", settings), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def special_tokens(tokenizer: Path) -> dict[str, str]:
    """Return the special tokens by role (`cls_token`, …), as the tokenizer itself uses them.

    The first and last token come from what it puts around a text, the unknown one from its model; padding and
    mask from their usual names, where the vocabulary has them.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - loaded where it is needed

    try:
        known: dict[str, Any] = json.loads(tokenizer.read_bytes())
        reader = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises plain Exception for whatever it dislikes
        raise ExportError(
            f"{tokenizer} is no tokenizer that can be read: {' '.join(str(error).split())}"
        ) from error
    reader.no_padding()
    reader.no_truncation()
    ends = reader.encode("a").tokens
    found: dict[str, str | None] = {"cls": ends[0], "sep": ends[-1]}
    found["unk"] = (known.get("model") or {}).get("unk_token")
    for role in ("pad", "mask"):
        usual = (f"[{role.upper()}]", f"<{role}>")
        found[role] = next((token for token in usual if reader.token_to_id(token) is not None), None)
    return {f"{role}_token": token for role in _ROLES if (token := found[role])}
