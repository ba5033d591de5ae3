from dataclasses import replace
from pathlib import Path

import pytest

from pact_cluster.preflight import Facts, available_memory, is_debian, problems, tool_problems

GIB = 1024**3
FINE = Facts(
    root=True,
    debian=True,
    free_disk=50 * GIB,
    disk_folder=Path("/home/someone/.cache/pact-operator"),
    free_memory=8 * GIB,
    cgroups=frozenset({"cpu", "cpuset", "memory", "pids", "blkio"}),
    cgroup_problem="",
    engine=False,
    state_folder=Path("/home/someone/.local/state/pact-operator"),
    go=(1, 26, 8),
    go_needed=(1, 26, 2),
    to_build=("kubectl", "kind"),
)


def test_a_machine_that_has_everything_is_not_complained_about() -> None:
    assert problems(FINE) == []


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"debian": False}, ["only on Debian", "install and start Docker"]),
        ({"root": False}, ["only root", "run this as root"]),
        ({"free_disk": 3 * GIB}, ["15 GiB", "3.0 GiB", "XDG_CACHE_HOME"]),
        ({"free_memory": GIB}, ["4 GiB", "1.0 GiB"]),
        ({"cgroups": frozenset({"cpu"})}, ["cpuset, memory, pids"]),
        ({"cgroup_problem": "No cgroups are mounted at /sys/fs/cgroup: mount them."}, ["No cgroups"]),
        ({"state_folder": Path("/" + "x" * 80)}, ["XDG_STATE_HOME"]),
        ({"go": None}, ["Go 1.26.2", "none was found", "kubectl, kind", "https://go.dev/dl/"]),
        ({"go": (1, 25, 9)}, ["Go 1.26.2", "only 1.25.9"]),
    ],
)
def test_each_lack_is_one_sentence_that_says_what_to_do(lacking: dict[str, object], words: list[str]) -> None:
    found = problems(replace(FINE, **lacking))  # type: ignore[arg-type]

    assert len(found) == 1
    assert all(word in found[0] for word in words), found
    assert "\n" not in found[0]


def test_everything_that_is_missing_is_said_at_once() -> None:
    assert len(problems(replace(FINE, root=False, go=None, free_disk=0, free_memory=0))) == 4


def test_a_running_engine_needs_neither_root_nor_debian() -> None:
    assert problems(replace(FINE, engine=True, root=False, debian=False, cgroups=frozenset())) == []


def test_go_is_not_asked_for_when_nothing_must_be_built() -> None:
    assert tool_problems(replace(FINE, go=None, to_build=())) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_ID="12"\n', True),
        ('ID=ubuntu\nID_LIKE="debian"\n', True),
        ("ID=fedora\n", False),
        ("", False),
    ],
)
def test_debian_is_told_by_os_release(text: str, expected: bool) -> None:
    assert is_debian(text) is expected


def test_memory_is_what_can_be_had() -> None:
    assert available_memory("MemTotal: 100 kB\nMemAvailable:     2048 kB\n") == 2048 * 1024
    assert available_memory("") == 0
