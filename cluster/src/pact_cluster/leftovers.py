"""What a container engine leaves behind on a machine, and how it is taken away again."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# A rule is Docker's own if it names one of its chains or bridges, or is the hairpin of one container's port.
_DOCKERS = re.compile(r"\bDOCKER|\bdocker0\b|\bbr-[0-9a-f]{12}\b|-s (\S+)/32 -d \1/32 .*-j MASQUERADE")
_DOCKER_CHAIN = re.compile(r"DOCKER(-|$)")


@dataclass
class _Table:
    policies: dict[str, str] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)


def parse_rules(saved: str) -> dict[str, _Table]:
    """The tables of `iptables-save` output: each chain's policy (`-` for a chain of somebody's own) and the rules."""
    tables: dict[str, _Table] = {}
    table = _Table()
    for line in saved.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:].strip(), _Table())
        elif line.startswith(":"):
            chain, policy, *_ = line[1:].split()
            table.policies[chain] = policy
        elif line.startswith("-A "):
            table.rules.append(line.strip())
    return tables


def commands_to_restore(before: str, after: str) -> list[list[str]]:
    """The iptables commands that take away what Docker has added between two `iptables-save` outputs.

    Rules and chains that others added meanwhile stay.

    Args:
        before: Taken before the engine started.
        after: Taken after it ended.

    Returns:
        Arguments of `iptables`, in order.
    """
    old, new = parse_rules(before), parse_rules(after)
    commands: list[list[str]] = []
    for name, table in new.items():
        was = old.get(name, _Table())
        chains = [c for c in table.policies if c not in was.policies and _DOCKER_CHAIN.match(c)]
        added = (Counter(table.rules) - Counter(was.rules)).elements()
        commands += [
            ["-t", name, "-D", *_words(rule)[1:]]
            for rule in added
            if rule.split()[1] not in chains and _DOCKERS.search(rule)
        ]
        commands += [["-t", name, "-F", chain] for chain in chains]
        commands += [["-t", name, "-X", chain] for chain in chains]
        forward = was.policies.get("FORWARD", "ACCEPT")
        if table.policies.get("FORWARD", forward) != forward:
            commands.append(["-t", name, "-P", "FORWARD", forward])
    return commands


def mounts_below(mounts: str, folders: Iterable[Path]) -> list[str]:
    """The mount points below some folders, deepest first.

    Args:
        mounts: Contents of /proc/mounts.
        folders: The folders.
    """
    roots = [str(folder).rstrip("/") for folder in folders]
    points = [line.split()[1].encode().decode("unicode_escape") for line in mounts.splitlines() if line.strip()]
    below = [p for p in points if any(p == root or p.startswith(root + "/") for root in roots)]
    return sorted(below, key=lambda p: p.count("/"), reverse=True)


def processes_of(marks: Iterable[str], processes: Iterable[tuple[int, str]]) -> list[int]:
    """The process ids whose command line carries one of the marks (paths that are ours alone)."""
    wanted = list(marks)
    return [pid for pid, command in processes if any(mark in command for mark in wanted)]


def daemons_besides(marks: Iterable[str], processes: Iterable[tuple[int, str]]) -> list[int]:
    """The process ids of Docker daemons that carry none of the marks: somebody else's."""
    daemons = [(pid, line) for pid, line in processes if line.split(" ")[0].rsplit("/", 1)[-1] == "dockerd"]
    ours = set(processes_of(marks, daemons))
    return [pid for pid, _ in daemons if pid not in ours]


def running_processes() -> list[tuple[int, str]]:
    """Each process id and its command line."""
    found: list[tuple[int, str]] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended while we looked
            found.append((int(folder.name), command))
    return found


def processes_in_cgroups(parent: str, root: Path = Path("/sys/fs/cgroup")) -> set[int]:
    """The processes in all cgroups of one name and below them, in every hierarchy."""
    found: set[int] = set()
    for top in (root, *root.glob("*/")):
        for file in (top / parent).rglob("cgroup.procs"):
            try:
                found.update(int(line) for line in file.read_text().split())
            except OSError:
                continue  # the cgroup went while we looked
    return found


def remove_cgroups(parent: str, root: Path = Path("/sys/fs/cgroup")) -> list[Path]:
    """Remove empty cgroups of one name, in every hierarchy.

    Returns:
        Those that could not be removed because something still runs in them.
    """
    tops = [folder / parent for folder in (root, *root.glob("*/")) if (folder / parent).is_dir()]
    for top in tops:
        folders = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True)
        for folder in (*folders, top):
            try:
                folder.rmdir()
            except OSError:
                continue  # busy: the top stays and is reported
    return [top for top in tops if top.exists()]


def remove_empty_folders(top: Path) -> None:
    """Remove a folder and those in it, as far as there is no file in them."""
    folders = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True)
    for folder in (*folders, top):
        try:
            folder.rmdir()
        except OSError:
            continue  # something is in it: not ours to remove


def _words(rule: str) -> list[str]:
    # iptables-save quotes only comments, with double quotes.
    return [quoted or plain for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', rule)]
