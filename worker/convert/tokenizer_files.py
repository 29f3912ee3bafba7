"""The tokenizer of a checkpoint as one `tokenizer.json`."""

import json
import shutil
from pathlib import Path

from worker.classify.pack import TOKENIZER
from worker.convert.errors import CheckpointError


def write_tokenizer(checkpoint: Path, target: Path) -> None:
    """Copy the checkpoint's `tokenizer.json` to `target`, or build it from `vocab.txt`.

    Raises:
        CheckpointError: the folder has neither, or the vocabulary lacks a special token.
    """
    source, vocabulary = checkpoint / TOKENIZER, checkpoint / "vocab.txt"
    if source.is_file():
        shutil.copyfile(source, target)
    elif vocabulary.is_file():
        _build(vocabulary, _lower_case(checkpoint / "tokenizer_config.json"), target)
    else:
        raise CheckpointError(f"{checkpoint} has no tokenizer: neither {TOKENIZER} nor vocab.txt")


def _build(vocabulary: Path, lower_case: bool, target: Path) -> None:
    """Write BERT's WordPiece tokenizer, as DistilBERT uses it, over a vocabulary of one token a line."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors  # noqa: PLC0415

    lines = vocabulary.read_text(encoding="utf-8").split("\n")
    vocab = {
        token.rstrip("\r"): number for number, token in enumerate(lines) if token or number < len(lines) - 1
    }
    special = {name: vocab.get(name) for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    if missing := [name for name in ("[UNK]", "[CLS]", "[SEP]") if special[name] is None]:
        raise CheckpointError(f"{vocabulary} has no {missing[0]}")
    unknown = "[UNK]"
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([name for name, number in special.items() if number is not None])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.save(str(target))


def _lower_case(path: Path) -> bool:
    """Whether the checkpoint's tokenizer folds case; DistilBERT's default is that it does."""
    try:
        value = json.loads(path.read_bytes()).get("do_lower_case", True)
    except FileNotFoundError:
        return True
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return bool(value)
