"""An MPNet read as a DistilBERT computes the same, also after conversion to a pack and back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lab.conftest import BAD, GOOD, PLAIN
from worker.errors import ExportError, TrainingError
from worker.lab.bases import read_base
from worker.lab.checkpoint import Checkpoint, read_pack, write_folder
from worker.lab.convert.architecture import buckets
from worker.lab.convert.export import export_model
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.data.tokens import encode, pad
from worker.lab.network import Encoder, config_of, network_of
from worker.model.session import Session

pytestmark = pytest.mark.train

HEAD = {"problem_type": "single_label_classification", "id2label": {"0": "negative", "1": "positive"}}
TEXTS = ["", "the film was great", "awful " + "it is late " * 60, "the train is late unknown"]


def _ids(checkpoint: Checkpoint, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the texts' token ids and mask, (texts, longest)."""
    (folder / "own.json").write_text(checkpoint.tokenizer, encoding="utf-8")
    ids, mask = pad(encode(folder / "own.json", TEXTS, 200))
    assert mask is not None
    return torch.from_numpy(ids), torch.from_numpy(mask)


def test_it_computes_what_the_mpnet_computes(mpnet: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import MPNetModel

    checkpoint = read_base(str(mpnet))
    encoder = Encoder(config_of(checkpoint.config)).eval()
    encoder.load_state_dict({name: torch.from_numpy(a) for name, a in checkpoint.of_encoder().items()})
    ids, mask = _ids(checkpoint, tmp_path)
    theirs = Tokenizer.from_file(str(mpnet / "tokenizer.json"))
    theirs.enable_padding(pad_id=1, pad_token="<pad>")
    encoded = theirs.encode_batch(TEXTS)
    with torch.inference_mode():
        wanted = MPNetModel.from_pretrained(mpnet).eval()(
            input_ids=torch.tensor([row.ids for row in encoded]),
            attention_mask=torch.tensor([row.attention_mask for row in encoded]),
        )
        assert ids.shape[1] > 130, "distances beyond the last bucket are not covered"
        assert (encoder(ids, mask, first_only=False) - wanted[0])[mask.bool()].abs().max() < 1e-5
        assert (encoder(ids, mask)[:, 0] - wanted[0][:, 0]).abs().max() < 1e-5
        alone = encoder(ids[1:2, : int(mask[1].sum())], None)[0, 0]
        assert (alone - wanted[0][1, 0]).abs().max() < 1e-5


def test_the_buckets_are_those_of_transformers() -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    for count in (8, 32):
        wanted = MPNetEncoder.relative_position_bucket(torch.arange(-511, 512), num_buckets=count)
        assert np.array_equal(buckets(count, 512), wanted.numpy())


def test_its_words_have_berts_places(mpnet: Path) -> None:
    checkpoint = read_base(str(mpnet))
    vocabulary = json.loads(checkpoint.tokenizer)["model"]["vocab"]
    assert list(vocabulary) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *PLAIN]
    assert list(vocabulary.values()) == list(range(len(vocabulary)))
    assert checkpoint.sizes.max_position_embeddings == 200


@pytest.fixture(scope="module")
def packed(mpnet: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path]:
    """A checkpoint that comes from the MPNet, with a head, and its float pack."""
    base = read_base(str(mpnet))
    rng, tensors = np.random.default_rng(2), dict(base.tensors)
    for part, shape in (("pre_classifier", (32, 32)), ("classifier", (2, 32))):
        tensors[f"heads.sentiment.{part}.weight"] = rng.normal(0, 0.5, shape).astype(np.float32)
        tensors[f"heads.sentiment.{part}.bias"] = rng.normal(0, 0.5, shape[:1]).astype(np.float32)
    checkpoint = replace(base, tensors=tensors, config={**base.config, "heads": {"sentiment": HEAD}})
    room = tmp_path_factory.mktemp("packed")
    write_folder(checkpoint, room / "checkpoint")
    convert_checkpoint(room / "checkpoint", room / "pack", name="mpnet", quantise=False)
    return checkpoint, room / "pack"


def test_the_graph_computes_what_the_network_computes(
    packed: tuple[Checkpoint, Path], tmp_path: Path
) -> None:
    checkpoint, pack = packed
    ids, mask = _ids(checkpoint, tmp_path)
    network = network_of(checkpoint)
    with torch.inference_mode():
        wanted = network.text_head("sentiment")(network(ids, mask)).numpy()
    rows = [row[: int(real.sum())].tolist() for row, real in zip(ids, mask, strict=True)]
    session = Session(pack / "model.onnx", ["sentiment"])
    np.testing.assert_allclose(session.run(rows)[0], wanted, atol=1e-4)
    np.testing.assert_allclose(session.run(rows[1:2])[0], wanted[1:2], atol=1e-4)


def test_a_pack_gives_its_weights_back_but_is_no_distilbert_of_transformers(
    packed: tuple[Checkpoint, Path], tmp_path: Path
) -> None:
    checkpoint, pack = packed
    ids, mask = _ids(checkpoint, tmp_path)
    with torch.inference_mode():
        wanted, found = (network_of(each)(ids, mask) for each in (checkpoint, read_pack(pack)))
    assert (wanted - found).abs().max() < 1e-4
    with pytest.raises(ExportError, match="distances of tokens"):
        export_model(pack, tmp_path / "exported")


def test_another_vocabulary_is_refused(mpnet: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((mpnet / name).read_bytes())
    settings = json.loads((mpnet / "tokenizer.json").read_text(encoding="utf-8"))
    del settings["model"]["vocab"]["<mask>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(TrainingError, match="lacks the special tokens"):
        read_base(str(tmp_path))
