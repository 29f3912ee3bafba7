"""Fuzzes packs: random changes of a small one, for which its manifest vouches, loaded and given texts.

    python -m tests.fuzz.packs --inputs 20000 --seed 1

Nothing but answers, or one line that can be printed (PackError), may come of it, within seconds and within a
limit of memory. The cases run in a child process, so that one that ends the process is found too. A finding
is printed with the number of its case: `--only NUMBER` runs that one alone. Exits with 1 when there are any.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import onnx

from tests.support.checkpoints import MARKING, SIZES, write_checkpoint
from tests.support.packs import vouch
from worker.errors import PackError
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.model.pack import CONFIG, GRAPH, MANIFEST, TOKENIZER
from worker.types import Failure, Prediction

MOST_FINDINGS = 20
SLOW_S = 10
MEMORY = 4 << 30
TOGETHER = 200
"""Cases of one child process."""

TEXTS = ["so great", "", "x" * 3_000, "\ud83d awful 😡 名前", "[SEP] " * 200]
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, 1e308, -1e308, float("nan"), float("inf")),
    *("", "a", "\0", "\ud800", "x" * 70_000, "../x", "/dev/zero", "[CLS]", "(a+a+)+$", "\u2028"),
    *([], {}, [[]], [0], {"0": "a"}, {"": None}, [[[[[[]]]]]], {"type": "Sequence"}, list(range(3_000))),
)
_OPERATORS = (
    "Loop",
    "Scan",
    "If",
    "Concat",
    "MatMul",
    "Expand",
    "Range",
    "Tile",
    "Gather",
    "Identity",
    "NonZero",
    "Mul",
)
_SHORT = 40
"""Tables and lists of more entries than this are changed in a few places only."""


def changed_json(rng: random.Random, value: Any) -> Any:
    """Change a JSON value in one place or a few."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        value = _changed(rng, value)
    return value


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.08:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.14:
            return {**value, rng.choice([*map(str, range(3)), "type", "\ud800", "x" * 300]): rng.choice(_ODD)}
        return {**value, key: _changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.1 and len(value) <= _SHORT:
            return value * rng.choice([2, 30])
        return [*value[:place], *([] if kind < 0.2 else [_changed(rng, value[place])]), *value[place + 1 :]]
    return rng.choice(_ODD)


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, repeat or put in some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 40])):
        place = rng.randrange(len(changed) or 1)
        kind = rng.random()
        if kind < 0.5 and changed:
            changed[place] = rng.randrange(256)
        elif kind < 0.7:
            del changed[place : place + rng.choice([1, 2, 100, 10_000])]
        elif kind < 0.85:
            changed[place:place] = changed[place : place + rng.choice([1, 8, 200])]
        else:
            changed[place:place] = rng.randbytes(rng.choice([1, 4, 11]))
    return bytes(changed)


def changed_graph(rng: random.Random, data: bytes) -> bytes:
    """Change the operators, tensors and inputs of a graph, which stays well formed."""
    model = onnx.load_from_string(data)
    graph = model.graph
    for _ in range(rng.choice([1, 1, 2, 5])):
        node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
        names = [name for other in graph.node for name in (*other.input, *other.output)]
        kind = rng.randrange(7)
        if kind == 0:
            node.op_type = rng.choice(_OPERATORS)
        elif kind == 1 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif kind == 2:
            tensor.dims[:] = [rng.choice([0, 1, -1, 2**20, 2**62]) for _ in range(rng.randrange(5))]
        elif kind == 3:
            tensor.data_type = rng.randrange(30)
        elif kind == 4:
            whole = tensor.raw_data
            tensor.raw_data = changed_bytes(rng, whole) if rng.random() < 0.5 else rng.randbytes(len(whole))
        elif kind == 5 and node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.i, attribute.f = rng.choice([-1, 0, 2**40, -(2**63)]), rng.choice([float("nan"), 1e38])
        else:
            graph.node.append(node)
            graph.node[-1].output[0] = f"more{rng.random()}"
    return bytes(model.SerializeToString())


def change(rng: random.Random, pack: Path) -> str:
    """Change a pack in one of its files; return which and how."""
    file = rng.choice([MANIFEST, CONFIG, CONFIG, TOKENIZER, TOKENIZER, GRAPH, GRAPH, "place"])
    if file == "place":
        victim = pack / rng.choice([MANIFEST, CONFIG, TOKENIZER, GRAPH])
        victim.unlink()
        kind = rng.choice(["fifo", "zero", "folder", "itself", "gone"])
        if kind == "fifo":
            os.mkfifo(victim)
        elif kind == "folder":
            victim.mkdir()
        elif kind != "gone":
            victim.symlink_to("/dev/zero" if kind == "zero" else victim)
        return f"{victim.name} {kind}"
    path, raw = pack / file, rng.random() < 0.3
    data = path.read_bytes()
    if raw:
        path.write_bytes(changed_bytes(rng, data))
    elif file == GRAPH:
        path.write_bytes(changed_graph(rng, data))
    else:
        value = changed_json(rng, json.loads(data))
        path.write_text(json.dumps(value, default=repr))
    if file != MANIFEST:
        vouch(pack)
    return f"{file} {'bytes' if raw else 'parts'}"


def check(seed: int, number: int, sound: Path, folder: Path) -> tuple[str, str | None]:
    """Make one pack and use it; return what was changed and what came of it, and a finding."""
    rng = random.Random(f"{seed}/{number}")
    pack = Path(shutil.copytree(sound, folder / "pack"))
    changed, outcome, wrong = "", "", None
    started = time.monotonic()
    try:
        changed = change(rng, pack)
        answers = Classifier.load(pack, threads=1).classify(TEXTS)
        outcome = "failure" if any(isinstance(answer, Failure) for answer in answers) else "labelled"
        if len(answers) != len(TEXTS) or not all(isinstance(each, Prediction | Failure) for each in answers):
            wrong = f"{len(answers)} answers"
    except PackError as error:
        outcome, line = "refused", str(error)
        if not line.isprintable() or len(line) > 2_000:
            wrong = f"a line that cannot be shown: {line[:300]!r}"
    except BaseException as error:  # noqa: BLE001 - a panic is no Exception; any of them is what is looked for
        outcome, wrong = "error", f"{type(error).__name__}: {str(error)[:300]}"
    if wrong is None and time.monotonic() - started > SLOW_S:
        wrong = f"took {time.monotonic() - started:.0f} s"
    shutil.rmtree(pack)
    return f"{changed}: {outcome}", wrong


def run_child(seed: int, numbers: range, sound: Path, writing: int) -> None:
    """Run cases and write a line about each: its number, what came of it, and the finding."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # panics of the tokenizers library write there
    with os.fdopen(writing, "w") as out, tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            signal.alarm(3 * SLOW_S)  # ends the child: what hangs in Rust or C++ hears no Python
            outcome, wrong = check(seed, number, sound, Path(folder))
            out.write(json.dumps([number, outcome, wrong]) + "\n")
            out.flush()


def run_cases(seed: int, numbers: range, sound: Path, outcomes: Counter[str]) -> list[str]:
    """Run cases in a child process, and another one after each that ends it; return the findings."""
    findings = []
    while numbers:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(reading)
                run_child(seed, numbers, sound, writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        last = numbers.start - 1
        with os.fdopen(reading) as lines:
            for line in lines:
                last, outcome, wrong = json.loads(line)
                outcomes[outcome] += 1
                if wrong is not None:
                    findings.append(f"case {last}, {outcome}: {wrong}")
        _, status = os.waitpid(child, 0)
        numbers = range(last + 1, numbers.stop)
        if status and numbers:
            findings.append(
                f"case {last + 1} ended the process with status {os.waitstatus_to_exitcode(status)}"
            )
            numbers = numbers[1:]
    return findings


def main(count: int, seed: int = 1, seconds: float = float("inf"), only: int | None = None) -> int:
    """Check so many packs, or as many as so many seconds allow. Returns 1 when something was found."""
    outcomes, found, done = Counter[str](), 0, 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder) / "checkpoint", {**SIZES, "heads": MARKING})
        sound = convert_checkpoint(checkpoint, Path(folder) / "sound", name="tiny").path
        if only is not None:
            print(*check(seed, only, sound, Path(folder)), sep="\n")
            return 0
        while done < count and found < MOST_FINDINGS and time.monotonic() - started < seconds:
            numbers = range(done, min(count, done + TOGETHER))
            for finding in run_cases(seed, numbers, sound, outcomes):
                found += 1
                print(finding, flush=True)
            done = numbers.stop
    print(f"packs: {done} inputs in {time.monotonic() - started:.0f} s, {found} findings")
    print(", ".join(f"{name} {number}" for name, number in outcomes.most_common()))
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end earlier, after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this case alone, in this process")
    options = parser.parse_args()
    sys.exit(main(options.inputs, options.seed, options.seconds, options.only))
