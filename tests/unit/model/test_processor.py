"""The exact int8 product is asked for where the quick one would clip its sums, and only there."""

from pathlib import Path

import pytest

from worker.model.cpu import saturates


@pytest.mark.parametrize(
    ("flags", "clips"),
    [
        ("fpu avx2 avx512bw", True),
        ("fpu avx2 avx512_vnni", False),
        ("fpu avx2 avx_vnni", False),
        ("fpu amx_int8 amx_tile", False),
    ],
)
def test_x86_by_its_flags(tmp_path: Path, flags: str, clips: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: x\nflags\t\t: {flags}\n")
    assert saturates("x86_64", tmp_path / "cpuinfo") is clips


def test_an_unknown_x86_is_taken_for_one_that_clips(tmp_path: Path) -> None:
    assert saturates("x86_64", tmp_path / "none")


def test_other_architectures_have_no_such_product(tmp_path: Path) -> None:
    assert not saturates("aarch64", tmp_path / "none")
