"""Distillation runs: resumed, with two processes, with relations, with int8 rounding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.random_checkpoints import distance_from, quiet, settings, some_texts
from worker.errors import TeacherError, TrainingError
from worker.lab.checkpoint import Checkpoint, read_checkpoint
from worker.lab.data.tokens import pad
from worker.lab.distill import Weights, distil
from worker.lab.losses import Relations
from worker.lab.network import network_of, quantise, rounded
from worker.lab.prune import Importance, prune
from worker.lab.student import student_of
from worker.lab.teachers import CheckpointTeacher, answers_of
from worker.lab.texts import Part, TextReader
from worker.lab.trainer import Trainer

pytestmark = pytest.mark.train


def test_a_run_that_was_cut_off_comes_to_the_same_weights(teacher: Path, tmp_path: Path) -> None:
    student, asked = student_of("every-other", teacher, None, seed=1), CheckpointTeacher(teacher)
    part = Part("texts", some_texts(120), 16, epochs=2)
    whole = distil([asked], student, [part], tmp_path / "whole", settings(), say=quiet)
    lines: list[str] = []

    class Cut(Exception):
        pass

    step = Trainer.step

    def cut_at_five(self: Trainer, number: int, factor: float) -> int:
        if number == 5:
            self.save(number, 1.0)
            raise Cut
        return step(self, number, factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", cut_at_five)
        with pytest.raises(Cut):
            distil([asked], student, [part], tmp_path / "cut", settings(), say=quiet)
    resumed = distil([asked], student, [part], tmp_path / "cut", settings(), resume=True, say=lines.append)
    assert any("resumed at step 5" in line for line in lines)
    assert resumed.steps == whole.steps > 5
    for name, array in whole.checkpoint.tensors.items():
        assert np.array_equal(array, resumed.checkpoint.tensors[name]), name
    other = Part("texts", some_texts(120, seed=8), 16, epochs=2)
    with pytest.raises(TrainingError, match="made by another recipe or other data"):
        distil([asked], student, [other], tmp_path / "cut", settings(), resume=True, say=quiet)


def _relations(teacher: CheckpointTeacher, student: Checkpoint) -> Relations:
    return Relations(teacher.checkpoint, teacher.network, student)


def test_relations_need_the_same_tokens_and_no_common_width(teacher: Path, tmp_path: Path) -> None:
    asked = CheckpointTeacher(teacher)
    small = prune(read_checkpoint(teacher), Importance(np.ones((4, 4)), np.ones((4, 64))), heads=3, hidden=32)
    relations = _relations(asked, small)
    assert relations.heads == 8  # of 32 and 24 features

    def divergence(checkpoint: Checkpoint) -> float:
        network, rows = network_of(checkpoint), TextReader(checkpoint)(["the film is great", "awful"], 16)
        ids, mask = pad([row.ids for row in rows])
        padded, real = torch.from_numpy(ids), torch.from_numpy(np.asarray(mask))
        with torch.inference_mode():
            below = network.distilbert.hidden_states(padded, real, 3)[-1]
            return float(relations.loss(network, below, padded, real))

    assert divergence(small) > 0.01
    same = _relations(asked, read_checkpoint(teacher))
    assert same.heads == 32
    relations = same
    assert divergence(read_checkpoint(teacher)) == pytest.approx(0, abs=1e-5)
    related = replace(settings(), weights=Weights(first=0.0, relations=1.0))
    part = Part("texts", some_texts(200), 16, epochs=4)
    found = distil([asked], small, [part], tmp_path, related, say=quiet).checkpoint
    relations = _relations(asked, small)
    assert divergence(found) < 0.7 * divergence(small)
    other = replace(small, config={**small.config, "text": {"name": "social", "version": 1}})
    with pytest.raises(TeacherError, match="cut texts into different tokens"):
        _relations(asked, other)


def test_two_processes_teach_one_student(teacher: Path, tmp_path: Path) -> None:
    student, asked = student_of("every-other", teacher, None, seed=1), CheckpointTeacher(teacher)
    part = Part("texts", some_texts(300), 16, epochs=4)
    found = distil([asked], student, [part], tmp_path, settings(processes=2), say=quiet)
    assert found.steps == found.planned
    held_back = some_texts(100, seed=99)
    truth = answers_of(asked, held_back, 16, tmp_path / "t", quiet).scores["emotion"]
    before, after = (distance_from(each, held_back, "emotion", truth) for each in (student, found.checkpoint))
    assert after < 0.8 * before


def test_rounding_lets_the_gradient_through() -> None:
    values = torch.randn(3, 8, requires_grad=True)
    new = rounded(values)
    assert float((new - values).detach().abs().max()) > 0
    assert all(len(torch.unique(row)) <= 8 for row in new)
    step = values.abs().amax(dim=1) / 127
    assert bool(((new - values).abs() <= step[:, None] / 2 + 1e-6).all())
    new.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, torch.ones_like(values))


def test_quantisation_in_the_loop_changes_no_name_and_trains(teacher: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(teacher)
    network = network_of(whole)
    ids = torch.tensor([[2, 5, 6, 3]])
    before = network(ids, None)
    quantise(network)
    assert list(network.state_dict()) == list(network_of(whole).state_dict())
    moved = float((network(ids, None) - before).detach().abs().max())
    assert 0 < moved < 0.3  # rounding changes it, but only a little
    rounding = replace(settings(), quantised=True)
    part = Part("texts", some_texts(60), 16)
    distil([CheckpointTeacher(teacher)], whole, [part], tmp_path, rounding, say=quiet)
