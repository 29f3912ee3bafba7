"""How much faster `Classifier` is than what one writes first: two transformers pipelines, a message a call.

    python benchmarks/classifier.py [--quick] [--pack FOLDER]

The peer is two `pipeline("text-classification")` on DistilBERT-base shapes (6 layers of 768), one with 3
labels for sentiment and one with 28 for emotion, in float32 as they come. Their weights are random, for no
download is needed then, and speed depends on the shapes alone; their labels mean nothing. Both sides tokenize
with the pack's own tokenizer.json and read the same texts.

The texts are made up from the word list below with a fixed seed, in the lengths of a mix of tweets and
reviews. The peer takes minutes for all of them, so each round gives it every n-th text in order of length:
the same mix, fewer texts. Rounds of both sides alternate; the ratio is the median of the rounds' ratios. On a
machine that does other work at the same time the peer loses more than we do, so the load is printed too.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from worker.model.classifier import Classifier
from worker.model.pack import bundled_pack
from worker.model.tokenizer import Tokens
from worker.types import Prediction

Label = Callable[[Sequence[str]], None]

BAR = 40
MAX_TOKENS = 400
REVIEWS = 0.16
"""Share of reviews; the rest are tweets."""
TWEET_TOKENS, REVIEW_TOKENS = (21, 0.45), (130, 0.6)
"""Lengths are log-normal: the middle one, and the deviation of the logarithm."""

WORDS = [
    *(
        "the",
        "a",
        "an",
        "and",
        "but",
        "or",
        "so",
        "if",
        "when",
        "while",
        "because",
        "this",
        "that",
        "it",
        "i",
    ),
    *(
        "we",
        "you",
        "they",
        "my",
        "our",
        "is",
        "was",
        "are",
        "were",
        "has",
        "had",
        "do",
        "did",
        "not",
        "never",
    ),
    *(
        "no",
        "yes",
        "just",
        "really",
        "very",
        "too",
        "quite",
        "almost",
        "only",
        "also",
        "again",
        "still",
        "even",
    ),
    *("always", "maybe", "here", "there", "now", "then", "today", "tomorrow", "week", "month", "year", "day"),
    *("good", "great", "bad", "awful", "nice", "fine", "poor", "cheap", "new", "old", "fast", "slow", "late"),
    *(
        "happy",
        "sad",
        "angry",
        "tired",
        "glad",
        "proud",
        "phone",
        "screen",
        "battery",
        "camera",
        "price",
        "box",
    ),
    *(
        "order",
        "shop",
        "store",
        "staff",
        "service",
        "support",
        "room",
        "hotel",
        "bed",
        "food",
        "coffee",
        "film",
    ),
    *(
        "book",
        "story",
        "song",
        "game",
        "team",
        "train",
        "bus",
        "flight",
        "seat",
        "car",
        "road",
        "city",
        "rain",
    ),
    *(
        "work",
        "job",
        "love",
        "like",
        "hate",
        "want",
        "need",
        "got",
        "bought",
        "sold",
        "sent",
        "arrived",
        "broke",
    ),
    *(
        "stopped",
        "called",
        "answered",
        "wait",
        "tried",
        "think",
        "knew",
        "feel",
        "saw",
        "heard",
        "say",
        "said",
    ),
]
ENDS = (".", ".", "!", "?", " :)", " 😂", "...", "")


def lengths(count: int, rng: np.random.Generator) -> list[int]:
    """Draw how many tokens each text should have: median 24, mean 44, at most 400."""
    (tweet, tweet_spread), (review, review_spread) = TWEET_TOKENS, REVIEW_TOKENS
    tweets = rng.lognormal(np.log(tweet), tweet_spread, count)
    reviews = rng.lognormal(np.log(review), review_spread, count)
    mixed = np.where(rng.random(count) < REVIEWS, reviews, tweets)
    return [int(length) for length in np.clip(mixed, 4, MAX_TOKENS)]


def made_up_texts(count: int, seed: int = 20_240_607) -> list[str]:
    """Write texts from the word list; nearly every word in it is one token."""
    rng = np.random.default_rng(seed)
    texts = []
    for length in lengths(count, rng):
        words = [WORDS[index] for index in rng.integers(0, len(WORDS), max(1, length - 3))]
        texts.append(" ".join(words) + ENDS[rng.integers(0, len(ENDS))])
    return texts


def every_nth_by_length(texts: Sequence[str], tokens: Sequence[Tokens], count: int) -> list[str]:
    """Take `count` texts, evenly spread over the order of length."""
    order = sorted(range(len(texts)), key=lambda index: len(tokens[index].ids))
    step = len(texts) / count
    return [texts[order[int((number + 0.5) * step)]] for number in range(count)]


def pipelines(tokenizer_file: Path) -> Label:
    """Build the peer: two pipelines as one writes them, called with one message at a time."""
    import torch  # noqa: PLC0415 - a large import that --help can do without
    import transformers  # noqa: PLC0415 - see above

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_file),
        model_max_length=512,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "attention_mask"],
    )

    def pipeline(labels: int, **settings: Any) -> Any:
        torch.manual_seed(0)
        model = transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(num_labels=labels)
        )
        return transformers.pipeline(
            "text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu", **settings
        )

    sentiment = pipeline(3)
    emotion = pipeline(28, top_k=None, function_to_apply="sigmoid")

    def label(texts: Sequence[str]) -> None:
        for text in texts:
            sentiment(text, truncation=True)
            emotion(text, truncation=True)

    return label


def ours(classifier: Classifier) -> Label:
    """Label all texts in one call, and make sure that each got its labels."""

    def label(texts: Sequence[str]) -> None:
        answers = classifier.classify(texts)
        if not all(isinstance(answer, Prediction) for answer in answers):
            raise SystemExit("a text got no labels: the figure would mean nothing")

    return label


def rate(label: Label, texts: Sequence[str]) -> float:
    """Messages a second."""
    started = time.perf_counter()
    label(texts)
    return len(texts) / (time.perf_counter() - started)


def machine() -> str:
    """Name the processor, those of its features that decide the speed of int8, and what else it is doing."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    found = [flag for flag in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8") if flag in flags]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cpus, {' '.join(found)}, load {os.getloadavg()[0]:.1f}"


def describe(name: str, tokens: Sequence[Tokens]) -> None:
    """Print the lengths of texts."""
    sizes = [len(row.ids) for row in tokens]
    mean, median = statistics.mean(sizes), statistics.median(sizes)
    print(f"{name}: {len(sizes)} texts, tokens median {median:.0f}, mean {mean:.1f}, most {max(sizes)}")


def compare(sides: dict[str, tuple[Label, Sequence[str]]], rounds: int) -> None:
    """Run both sides in alternating order and print rates and their ratio."""
    for label, texts in sides.values():
        label(texts[:20])  # warm up
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            rates[name].append(rate(*sides[name]))
        line = ", ".join(f"{name} {values[-1]:.1f}/s" for name, values in rates.items())
        print(f"round {number + 1}: {line}, load {os.getloadavg()[0]:.1f}", flush=True)
    for name, values in rates.items():
        print(f"{name:10} median {statistics.median(values):8.1f} messages/s")
    slow, fast = rates.values()
    ratios = [ours / theirs for ours, theirs in zip(fast, slow, strict=True)]
    span = f"{min(ratios):.1f} to {max(ratios):.1f}"
    print(f"ratio      median {statistics.median(ratios):8.1f} ({span}); the bar is {BAR}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Classifier against two transformers pipelines.")
    parser.add_argument("--pack", type=Path, default=bundled_pack(), help="folder of the pack")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--peer-texts", type=int, default=100, help="texts the peer labels in one round")
    parser.add_argument("--quick", action="store_true", help="400 texts, 20 for the peer, 3 rounds")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.texts, args.peer_texts = 3, 400, 20

    print(machine())
    print(", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "torch", "transformers")))
    model = Classifier.load(args.pack)
    print(f"pack {model.pack.name}@{model.pack.revision}, {model.threads} threads")
    texts = made_up_texts(args.texts)
    tokens = model.tokenize(texts)
    few = every_nth_by_length(texts, tokens, args.peer_texts)
    describe("Classifier", tokens)
    describe("pipelines", model.tokenize(few))
    print("the pipelines' weights are random: their shapes decide their speed, their labels mean nothing")
    peer = pipelines(args.pack / "tokenizer.json")
    compare({"pipelines": (peer, few), "Classifier": (ours(model), texts)}, args.rounds)


if __name__ == "__main__":
    main()
