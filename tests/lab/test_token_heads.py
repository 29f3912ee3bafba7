"""A head that reads every token at several layers, and learning from a teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from worker.errors import TeacherError, TrainingError
from worker.lab.bases import bert_to_distilbert
from worker.lab.checkpoint import write_folder
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.data import sets as data
from worker.lab.data.labels import SENTIMENT
from worker.lab.data.tasks import read_tasks
from worker.lab.network import network_of
from worker.lab.recipe import HeadLayers, Optimiser, Recipe, Run, Task
from worker.lab.train import train

pytestmark = pytest.mark.train


def _quiet(_line: str) -> None:
    """Ignore progress lines."""


def _recipe(base: Path, *tasks: Task, epochs: float = 5) -> Recipe:
    return Recipe(
        name="tiny",
        base=str(base),
        tasks=tasks,
        depths=(HeadLayers(head="toxic_spans", layers=(1,)),),
        optimiser=Optimiser(trunk_rate=2e-3, head_rate=5e-3, max_padded_tokens=256),
        run=Run(seed=3, threads=1, precision="fp32"),
    )


@pytest.fixture(scope="module")
def marked_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posts in which the one word «awful» is marked."""
    root = tmp_path_factory.mktemp("marked")
    (root / "toxic_spans").mkdir()
    rows = []
    for number in range(120):
        before = ("the film", "it", "a phone on monday")[number % 3]
        text = f"{before} is awful" if number % 2 else f"{before} is great"
        places = list(range(text.index("awful"), len(text))) if number % 2 else []
        rows.append(f'"{places}",{text}\n')
    for name in ("tsd_train", "tsd_trial"):
        (root / f"toxic_spans/{name}.csv").write_text(
            "spans,text\n" + "".join(rows[: 120 if "train" in name else 0] or ['"[]",nothing like it\n']),
            encoding="utf-8",
        )
    return root


def test_depths_are_the_hidden_states_of_transformers(tiny_bert: Path) -> None:
    from transformers import BertModel

    network = network_of(bert_to_distilbert(tiny_bert))
    theirs = BertModel.from_pretrained(tiny_bert, attn_implementation="eager").eval()
    ids, mask = torch.tensor([[2, 4, 5, 6, 3], [2, 9, 3, 0, 0]]), torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])
    with torch.inference_mode():
        found = theirs(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        ours = network.distilbert.hidden_states(ids, mask, 2)
    for expected, state in zip(found, ours, strict=False):
        assert (state - expected)[mask.bool()].abs().max() < 1e-4


def test_a_token_head_learns_which_word_is_meant(tiny_bert: Path, marked_data: Path, tmp_path: Path) -> None:
    recipe = _recipe(
        tiny_bert, Task(data="toxic_spans", epochs=20, max_tokens=32), Task(data="toxic_posts", max_tokens=32)
    )
    trained = train(recipe, marked_data, tmp_path, say=_quiet)
    reader = Tokenizer.from_file(str(tiny_bert / "tokenizer.json"))
    encoding = reader.encode("a train on monday was awful")
    with torch.inference_mode():
        scores = torch.sigmoid(
            network_of(trained.checkpoint).marks("toxic_spans", torch.tensor([encoding.ids]), None)[0]
        )
    marked = [token for token, score in zip(encoding.tokens, scores, strict=True) if score > 0.5]
    assert marked == ["awful"]


def test_a_student_learns_from_texts_without_labels(
    tiny_bert: Path, small_data: Path, tmp_path: Path
) -> None:
    teaching = _recipe(tiny_bert, Task(data="sst2", epochs=5, max_tokens=32))
    write_folder(train(teaching, small_data, tmp_path / "t", say=_quiet).checkpoint, tmp_path / "checkpoint")
    convert_checkpoint(tmp_path / "checkpoint", tmp_path / "teacher", name="teacher")
    task = Task(data="imdb_sentences", epochs=60, max_tokens=32, teacher=str(tmp_path / "teacher"), hard=0.0)
    learning = _recipe(tiny_bert, task)
    student = network_of(train(learning, small_data, tmp_path / "s", say=_quiet).checkpoint)
    rows = read_tasks(learning, small_data, tiny_bert / "tokenizer.json", tmp_path / "s", _quiet)[0]
    with torch.inference_mode():
        logits = torch.cat(
            [
                student.heads["sentiment"](student(torch.from_numpy(row)[None].long(), None))
                for row in rows.ids
            ]
        )
    said = rows.teacher_scores.argmax(axis=1)
    agreed = (logits.argmax(dim=1).numpy() == said).mean()
    commonest = max((said == label).mean() for label in range(3))
    assert agreed > max(0.8, commonest + 0.1)  # more than always saying the commonest label
    # The answers are cached, so they are computed once.
    lines: list[str] = []
    kept = sorted((tmp_path / "s" / "taught").glob("taught-*.npz"))
    read_tasks(learning, small_data, tiny_bert / "tokenizer.json", tmp_path / "s", lines.append)
    assert sorted((tmp_path / "s" / "taught").glob("taught-*.npz")) == kept
    assert len(kept) == 1


def test_texts_without_labels_need_a_teacher(tiny_bert: Path, small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="imdb_sentences has no labels: it needs a teacher"):
        train(
            _recipe(tiny_bert, Task(data="imdb_sentences", max_tokens=32)), small_data, tmp_path, say=_quiet
        )


def test_a_teacher_that_is_no_pack_is_named(tiny_bert: Path, small_data: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_bert, Task(data="sst2", max_tokens=32, teacher=str(tmp_path / "nowhere")))
    with pytest.raises(TeacherError, match="teacher: there is no model at"):
        train(recipe, small_data, tmp_path, say=_quiet)


def test_hidden_tokens_and_dropout_come_back_on_resuming(
    tiny_bert: Path, small_data: Path, tmp_path: Path
) -> None:
    recipe = _recipe(tiny_bert, Task(data="sst2", epochs=1, max_tokens=32, masked=0.3))
    recipe = recipe.changed(optimiser=recipe.optimiser.changed(dropout=0.2))
    one, two = (train(recipe, small_data, tmp_path / name, say=_quiet).checkpoint for name in ("1", "2"))
    for name, array in one.tensors.items():
        assert np.array_equal(array, two.tensors[name]), name
    plain = recipe.changed(tasks=(recipe.tasks[0].changed(masked=0.0),))
    other = train(plain, small_data, tmp_path / "3", say=_quiet).checkpoint
    name = "heads.sentiment.classifier.weight"
    assert not np.array_equal(one.tensors[name], other.tensors[name])
    assert SENTIMENT.name in other.heads


def test_a_stage_goes_on_with_the_heads_of_the_one_before(
    tiny_bert: Path, small_data: Path, tmp_path: Path
) -> None:
    first = train(
        _recipe(tiny_bert, Task(data="sst2", epochs=5, max_tokens=32)), small_data, tmp_path / "1", say=_quiet
    )
    write_folder(first.checkpoint, tmp_path / "checkpoint")
    # A run that ends at its first step shows what it started from.
    tasks = (Task(data="sst2", max_tokens=32), Task(data="goemotions", max_tokens=32))
    second = _recipe(tmp_path / "checkpoint", *tasks).changed(
        optimiser=Optimiser(trunk_rate=1e-12, head_rate=1e-12)
    )
    lines: list[str] = []
    gone_on = train(second, small_data, tmp_path / "2", say=lines.append).checkpoint.tensors
    assert "heads continued from the base: sentiment" in lines
    for name, tensor in first.checkpoint.tensors.items():
        assert np.allclose(gone_on[name], tensor, atol=1e-6), name


def _taught(tiny_bert: Path, root: Path, place: Path, task: Task) -> Path:
    """Train on one task, and on a little of another for the gate; return the folder of the pack."""
    recipe = _recipe(tiny_bert, task, Task(data="toxic_posts", max_tokens=32))
    write_folder(train(recipe, root, place / "work", say=_quiet).checkpoint, place / "checkpoint")
    convert_checkpoint(place / "checkpoint", place / "pack", name="teacher")
    return place / "pack"


def test_a_token_head_learns_from_the_mean_of_its_teachers(
    tiny_bert: Path, marked_data: Path, tmp_path: Path
) -> None:
    tasks = [Task(data="toxic_spans", epochs=epochs, max_tokens=32) for epochs in (1, 20)]
    packs = [_taught(tiny_bert, marked_data, tmp_path / str(at), task) for at, task in enumerate(tasks)]
    scores = []
    for teachers in (packs[:1], packs[1:], packs):
        task = tasks[0].changed(teachers=tuple(map(str, teachers)), hard=0.0)
        rows = read_tasks(
            _recipe(tiny_bert, task), marked_data, tiny_bert / "tokenizer.json", tmp_path, _quiet
        )
        scores.append(rows[0].teacher_scores)
    for first, second, mean in zip(*scores, strict=True):
        assert np.allclose((first + second) / 2, mean, atol=1e-6)
        assert not np.allclose(first, second, atol=0.01)
    # Without the data's marks, taught only by the trained teacher, the student marks the same word.
    task = tasks[1].changed(teachers=(str(packs[1]),), hard=0.0)
    recipe = _recipe(tiny_bert, task, Task(data="toxic_posts", max_tokens=32))
    student = network_of(train(recipe, marked_data, tmp_path / "s", say=_quiet).checkpoint)
    encoding = Tokenizer.from_file(str(tiny_bert / "tokenizer.json")).encode("a train on monday was awful")
    with torch.inference_mode():
        scores_of_tokens = student.marks("toxic_spans", torch.tensor([encoding.ids]), None)[0]
    assert encoding.tokens[int(scores_of_tokens.argmax())] == "awful"


def test_texts_of_one_task_teach_another_head(
    tiny_bert: Path, marked_data: Path, small_data: Path, tmp_path: Path
) -> None:
    pack = _taught(tiny_bert, marked_data, tmp_path, Task(data="toxic_spans", epochs=20, max_tokens=32))
    task = Task(data="sst2", epochs=1, max_tokens=32, head="toxic_spans", teacher=str(pack))
    gate = Task(data="written_toxicity", rows=20, max_tokens=32)
    trained = train(_recipe(tiny_bert, task, gate), small_data, tmp_path / "s", say=_quiet)
    assert list(trained.checkpoint.heads) == ["toxicity", "toxic_spans"]
    assert trained.rows["sst2 (toxic_spans)"] == len(data.load("sst2", "train", small_data))


def test_a_token_head_without_its_gate_is_refused_before_training(
    tiny_bert: Path, marked_data: Path, tmp_path: Path
) -> None:
    tasks = (Task(data="written_sentiment", rows=20, max_tokens=32), Task(data="toxic_spans", max_tokens=32))
    recipe = _recipe(tiny_bert, *tasks)
    with pytest.raises(TrainingError, match=r"heads of this recipe do not make a valid model: .*'toxicity'"):
        train(recipe, marked_data, tmp_path / "s", say=_quiet)
    assert not (tmp_path / "s" / "state.safetensors").exists()
