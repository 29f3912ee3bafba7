"""CPU quotas, as containers set them."""

from pathlib import Path

from worker.model.cpu import cgroup_quota


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
