"""A tiny base model and small data sets, generated here with made-up texts."""

import gzip
import json
import os
from importlib import util
from pathlib import Path
from random import Random

import pytest

# These files import torch when they are collected; test_training_needs.py reports it if they are left out.
if util.find_spec("torch") is None or util.find_spec("transformers") is None:
    collect_ignore = [
        file.name for file in Path(__file__).parent.glob("test_*.py") if file.name != "test_training_needs.py"
    ]

GOOD = ("lovely", "great", "superb", "happy", "thanks")
BAD = ("awful", "broken", "dull", "angry", "late")
PLAIN = ("train", "film", "phone", "on", "monday", "the", "a", "is", "was", "it")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT encoder of 2 layers of 32 with random weights, and a tokenizer of some 20 words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *PLAIN]
    tokenizer = Tokenizer(models.WordPiece({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
    )
    torch.manual_seed(5)
    model = BertModel(config)
    with torch.no_grad():  # a new BERT has zero biases and unit norms: a fold that mixes them up would pass
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("tiny-bert")
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def mpnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny MPNet with random weights, whose values for distances matter."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import MPNetConfig, MPNetModel

    berts = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    words = ["<s>", "<pad>", "</s>", "<unk>", *berts, *GOOD, *BAD, *PLAIN, "<mask>"]
    tokenizer = Tokenizer(models.WordPiece({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    config = MPNetConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=202,
    )
    torch.manual_seed(6)
    model = MPNetModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_((1.0 if "relative" in name else 0.1) * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("mpnet")
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _text(rng: Random, words: tuple[str, ...]) -> str:
    chosen = [*rng.choices(PLAIN, k=rng.randint(2, 9)), rng.choice(words)]
    rng.shuffle(chosen)
    return " ".join(chosen)


def _write_rows(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set that has a benchmark, small, with labels that follow from single words."""
    root, rng = tmp_path_factory.mktemp("data"), Random(7)
    for split, count in (("train", 300), ("dev", 60)):
        _write_rows(
            root / f"sst2/{split}.tsv",
            ["label\tsentence", *(f"{n % 2}\t{_text(rng, GOOD if n % 2 else BAD)}" for n in range(count))],
        )
        # joy is 17, anger 2, neutral 27
        kinds = ((17, GOOD), (2, BAD), (27, PLAIN))
        rows = [(kinds[n % 3], n) for n in range(count)]
        _write_rows(
            root / f"goemotions/{split}.tsv",
            [f"{_text(rng, words)}\t{label}\tid{n}" for (label, words), n in rows],
        )
    tweets = [(n % 3, _text(rng, (BAD, PLAIN, GOOD)[n % 3])) for n in range(360)]
    _write_rows(
        root / "tweeteval/sentiment/train_reconstructed.tsv",
        [
            "id\tlabel\tsource\ttext",
            *(f"{n}\t{label}\tx\t{text}" for n, (label, text) in enumerate(tweets[:300])),
        ],
    )
    _write_rows(root / "tweeteval/sentiment/val_text.txt", [text for _, text in tweets[300:]])
    _write_rows(root / "tweeteval/sentiment/val_labels.txt", [str(label) for label, _ in tweets[300:]])
    (root / "imdb").mkdir()
    for name in ("train", "val"):
        with gzip.open(root / f"imdb/{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            for n in range(40):
                text = " ".join(_text(rng, GOOD if n % 2 else BAD) for _ in range(4))
                file.write(json.dumps({"label": n % 2, "text": text}) + "\n")
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real data sets: MOODSTREAM_DATA, or `shared/data` beside the repository."""
    root = Path(os.environ.get("MOODSTREAM_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no data sets at {root}; MOODSTREAM_DATA can name another folder")
    return root


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random checkpoint of 4 layers: see `random_checkpoints`."""
    from tests.support.random_checkpoints import random_checkpoint
    from worker.lab.checkpoint import write_folder

    folder = tmp_path_factory.mktemp("teacher") / "big"
    write_folder(random_checkpoint(1), folder)
    return folder
