"""Which texts are taken for another language than the packs read, and what finding that out costs.

    python benchmarks/unsupported.py --data FOLDER      # with the data sets that docs/how-to/train.md names
    python benchmarks/unsupported.py --cost [--rounds N]

The first counts, for each set, the texts that `supported: false` would mark for a pack that reads English,
and prints every marked text of the English sets, to be read. The second labels the same posts with and
without detection in turn, and takes processor time; a ratio is that of one round.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil

from worker.lab.data.own_posts import read_posts
from worker.lab.data.readers import unescape
from worker.model.identifier import Identifier
from worker.model.several import PackSet

TWEETS = ("sentiment", "emotion", "offensive", "irony", "hate", "emoji")
OTHERS = ("arabic", "french", "german", "hindi", "italian", "portuguese", "spanish")


def _lines(path: Path) -> list[str]:
    return [unescape(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _column(path: Path) -> list[str]:
    return [line.partition("\t")[0] for line in _lines(path)]


def english(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Sets of English posts; TweetEval's hold a few that are not."""
    yield "posts of our own", [post.text for post in read_posts()]
    for name in TWEETS:
        yield f"tweeteval/{name} val", _lines(data / "tweeteval" / name / "val_text.txt")
    yield "airline_tweets", _column(data / "airline_tweets" / "train.tsv")[1:]
    yield "goemotions dev", _column(data / "goemotions" / "dev.tsv")
    yield "xlm_t english", _tweets_in(data, "english")


def _tweets_in(data: Path, language: str) -> list[str]:
    folder = data / "xlm_t" / language
    return [*_lines(folder / "train_text.txt"), *_lines(folder / "val_text.txt")]


def count(data: Path) -> None:
    identify = Identifier()
    for name, texts in [*english(data), *((f"xlm_t {each}", _tweets_in(data, each)) for each in OTHERS)]:
        guesses = identify(texts, {"en"})
        marked = [text for text, guess in zip(texts, guesses, strict=True) if guess.foreign]
        named = sum(guess.language == "en" for guess in guesses)
        unknown = sum(guess.language is None for guess in guesses)
        print(
            f"{name:24} {len(texts):6} texts, marked {len(marked):5} ({len(marked) / len(texts):6.2%}), "
            f"named en {named / len(texts):6.1%}, not named {unknown / len(texts):6.1%}"
        )
        if name.removeprefix("xlm_t ") not in OTHERS:
            print("".join(f"    {text}\n" for text in marked), end="")


def cost(rounds: int, pack: str, count: int) -> None:
    process = psutil.Process()
    before, started = process.memory_info().rss, time.process_time()
    identify = Identifier()
    print(
        f"loading: {time.process_time() - started:.2f} s of processor, "
        f"{(process.memory_info().rss - before) / 2**20:.0f} MiB"
    )
    texts = [post.text for post in read_posts()]
    texts = texts[:: max(1, len(texts) // count)][:count]
    packs = PackSet.load([pack])
    for size in (1, 16, 256, 1_024):
        times = []
        for _ in range(max(3, rounds)):
            started = time.process_time()
            for start in range(0, len(texts), size):
                identify(texts[start : start + size], {"en"})
            times.append((time.process_time() - started) / len(texts) * 1e6)
        print(f"windows of {size:5}: {statistics.median(times):6.1f} us of processor a text")
    plain: list[float] = []
    both: list[float] = []
    for number in range(rounds):
        for detects in (number % 2 == 0, number % 2 == 1):
            (both if detects else plain).append(_round(packs, identify if detects else None, texts))
    shares = sorted(one / other - 1 for one, other in zip(both, plain, strict=True))
    print(
        f"{pack}: {statistics.median(plain) / len(texts) * 1e6:.0f} us of processor a text; with detection "
        f"{statistics.median(shares):+.1%} ({shares[0]:+.1%} to {shares[-1]:+.1%}, {rounds} rounds)"
    )


def _round(packs: PackSet, identify: Identifier | None, texts: Sequence[str]) -> float:
    started = time.process_time()
    for start in range(0, len(texts), 1_024):
        window = texts[start : start + 1_024]
        if identify is not None:
            identify(window, {"en"})
        packs.classify(window)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--cost", action="store_true", help="measure the cost")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pack", default="compact")
    parser.add_argument("--texts", type=int, default=1_024)
    options = parser.parse_args()
    if options.data is not None:
        count(options.data)
    if options.cost:
        cost(options.rounds, options.pack, options.texts)


if __name__ == "__main__":
    main()
