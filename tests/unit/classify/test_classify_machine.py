"""What is read from the machine: CPU quotas, and whether its int8 product is exact."""

from pathlib import Path

import pytest

from worker.classify.machine import cgroup_quota, exact_int8


@pytest.mark.parametrize(
    ("architecture", "flags", "exact"),
    [
        ("x86_64", "fpu sse4_2 avx2 avx512f avx512_vnni", True),
        ("AMD64", "fpu avx2 avx_vnni", True),
        ("x86_64", "fpu sse4_2 avx2 avx512f", False),
        ("aarch64", "", True),
    ],
)
def test_only_x86_without_vnni_needs_the_slower_product(
    tmp_path: Path, architecture: str, flags: str, exact: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert exact_int8(tmp_path / "cpuinfo", architecture) is exact


def test_a_processor_that_cannot_be_asked_is_not_trusted(tmp_path: Path) -> None:
    assert exact_int8(tmp_path / "none", "x86_64") is False


def group(root: Path, name: str, **files: str) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file.replace("__", ".")).write_text(content)


def test_the_smallest_cpu_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/pod/worker\n")
    group(tmp_path / "fs", "pod/worker", cpu__max="max 100000")
    group(tmp_path / "fs", "pod", cpu__max="150000 100000")
    group(tmp_path / "fs", ".", cpu__max="400000 100000")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "membership") == 1.5


def test_the_older_form_of_a_cpu_quota_counts_too(tmp_path: Path) -> None:
    group(tmp_path / "fs", "cpu", cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "none") == 2.0
    group(tmp_path / "fs", "cpu", cpu__cfs_quota_us="-1\n")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "none") is None


def test_no_quota_is_none(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    group(tmp_path, "fs", cpu__max="max 100000")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "membership") is None
    group(tmp_path, "fs", cpu__max="nonsense")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "membership") is None
