from pathlib import Path

from pact_cluster.leftovers import (
    commands_to_restore,
    daemons_besides,
    mounts_below,
    processes_in_cgroups,
    processes_of,
    remove_cgroups,
    remove_empty_folders,
)

BEFORE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:MINE - [0:0]
-A INPUT -s 10.1.0.0/16 -m comment --comment "keep this" -j DROP
COMMIT
"""
AFTER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:MINE - [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:VPN - [0:0]
-A INPUT -s 10.1.0.0/16 -m comment --comment "keep this" -j DROP
-A INPUT -j VPN
-A FORWARD -j DOCKER-USER
-A FORWARD -o br-0123456789ab -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -m comment --comment "to the world" -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE
-A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 6443 -j MASQUERADE
-A POSTROUTING -s 10.9.0.0/24 -j MASQUERADE
COMMIT
"""


def test_what_docker_added_goes_and_what_others_added_stays() -> None:
    commands = [" ".join(command) for command in commands_to_restore(BEFORE, AFTER)]

    assert commands == [
        "-t filter -D FORWARD -j DOCKER-USER",
        "-t filter -D FORWARD -o br-0123456789ab -j DOCKER",
        "-t filter -D FORWARD -i docker0 ! -o docker0 -m comment --comment to the world -j ACCEPT",
        "-t filter -F DOCKER",
        "-t filter -F DOCKER-USER",
        "-t filter -X DOCKER",
        "-t filter -X DOCKER-USER",
        "-t filter -P FORWARD ACCEPT",
        "-t nat -D POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE",
        "-t nat -D POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 6443 -j MASQUERADE",
        "-t nat -F DOCKER",
        "-t nat -X DOCKER",
    ]


def test_a_quoted_comment_is_one_argument() -> None:
    command = next(c for c in commands_to_restore(BEFORE, AFTER) if "--comment" in c)

    assert command[command.index("--comment") + 1] == "to the world"


def test_nothing_is_done_where_nothing_changed_or_docker_was_there_before() -> None:
    assert commands_to_restore(BEFORE, BEFORE) == []
    assert commands_to_restore(AFTER, AFTER) == []


def test_mounts_are_named_deepest_first() -> None:
    points = ["/c/e/overlay2/x/merged", "/c/e", "/c/engine", "/c/e/a\\040b"]
    mounts = "".join(f"overlay {point} overlay rw 0 0\n" for point in points)

    assert mounts_below(mounts, [Path("/c/e")]) == ["/c/e/overlay2/x/merged", "/c/e/a b", "/c/e"]


def test_only_processes_that_carry_our_paths_are_ours() -> None:
    running = [(1, "dockerd --data-root /home/me/cache"), (2, "dockerd"), (3, "vi notes")]

    assert processes_of(["/home/me/cache"], running) == [1]
    assert daemons_besides(["/home/me/cache"], [*running, (4, "/usr/sbin/dockerd -H fd://")]) == [2, 4]


def test_cgroups_are_removed_from_the_leaves(tmp_path: Path) -> None:
    (tmp_path / "memory/ours/node/kubelet").mkdir(parents=True)
    (tmp_path / "cpu/ours").mkdir(parents=True)
    (tmp_path / "cpu/others").mkdir()

    assert remove_cgroups("ours", tmp_path) == []
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["cpu", "memory", "others"]


def test_a_busy_cgroup_is_reported(tmp_path: Path) -> None:
    (tmp_path / "memory/ours").mkdir(parents=True)
    (tmp_path / "memory/ours/tasks").touch()  # a real one refuses rmdir while a process is in it

    assert remove_cgroups("ours", tmp_path) == [tmp_path / "memory/ours"]


def test_folders_that_hold_a_file_stay(tmp_path: Path) -> None:
    (tmp_path / "top/empty").mkdir(parents=True)
    (tmp_path / "top/full").mkdir()
    (tmp_path / "top/full/file").touch()

    remove_empty_folders(tmp_path / "top")

    assert sorted(p.name for p in (tmp_path / "top").iterdir()) == ["full"]


def test_processes_of_a_cgroup_are_found_in_every_hierarchy(tmp_path: Path) -> None:
    for path, pids in {"memory/ours/node": "7\n8\n", "cpu/ours": "7\n9\n", "cpu/others": "1\n", "ours": "5\n"}.items():
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "cgroup.procs").write_text(pids)

    assert processes_in_cgroups("ours", tmp_path) == {5, 7, 8, 9}
