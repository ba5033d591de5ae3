"""Docker's engine: the one that runs, or Debian's, started on a socket of our own."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pact_cluster import leftovers
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.preflight import require_engine
from pact_cluster.report import Reporter
from pact_cluster.shell import base_environment, run, stream, succeeds, which
from pact_cluster.workspace import ClusterChoice, Workspace, fingerprint

# The engine, and what a node image is put together from.
DEBIAN_PACKAGES = (
    "docker.io",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "iproute2",
    "mmdebstrap",
    "procps",
    "util-linux",
    "gcc",
    "libc6-dev",
)
NETWORK = "kind"
# Made by the daemon wherever its own folders are.
_SIDE_FOLDERS = (Path("/run/docker"), Path("/run/containerd"), Path("/etc/docker"), Path("/lib/modules"))
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers.

    Attributes:
        host: The value for DOCKER_HOST; empty for the client's default.
        own: Whether this package started it.
        buildx: Whether the client can build with BuildKit.
    """

    host: str
    own: bool
    buildx: bool

    @property
    def environment(self) -> dict[str, str]:
        """What its clients (docker, kind, skaffold) need in their environment."""
        values: dict[str, str] = {}
        if self.host:
            values["DOCKER_HOST"] = self.host
        if not self.buildx:
            values["DOCKER_BUILDKIT"] = "0"
        return values

    def docker(self, *arguments: str | Path, timeout: float | None = None, stdin: str | None = None) -> str:
        """Run the Docker client.

        Raises:
            CommandFailedError: It failed.
        """
        return run(
            ["docker", *arguments],
            environment=base_environment() | self.environment,
            timeout=timeout,
            stdin=stdin,
        )

    def image_id(self, reference: str) -> str | None:
        """The id of a local image, None if it is not there."""
        try:
            return self.docker("image", "inspect", "--format", "{{.Id}}", reference).strip()
        except CommandFailedError:
            return None


def engine_folder(workspace: Workspace) -> Path:
    """Where our own engine keeps its socket, pid and log."""
    return workspace.state / "engine"


def data_folder(workspace: Workspace) -> Path:
    """Where our own engine keeps its images; in the cache, so that a second start is warm."""
    return workspace.cache / "engine"


def cgroup_of(workspace: Workspace) -> str:
    """The cgroup that all containers of our own engine are below; another state folder has another."""
    return f"pact-operator-{fingerprint([str(workspace.state)])}"


def own_host(workspace: Workspace) -> str:
    """DOCKER_HOST of our own engine."""
    return f"unix://{engine_folder(workspace) / 'docker.sock'}"


def find_engine(workspace: Workspace) -> Engine | None:
    """An engine that answers now: our own, else the one that the Docker client finds by itself."""
    if which("docker") is None:
        return None
    own = own_host(workspace)
    hosts = [own] if (engine_folder(workspace) / "docker.sock").exists() else []
    if os.environ.get("DOCKER_HOST") != own:
        hosts.append("")
    for host in hosts:
        environment = base_environment() | ({"DOCKER_HOST": host} if host else {})
        if succeeds(["docker", "info", "--format", "{{.ID}}"], environment=environment, timeout=20):
            buildx = succeeds(["docker", "buildx", "version"], environment=environment, timeout=20)
            return Engine(host, own=host == own, buildx=buildx)
    return None


def ensure_engine(workspace: Workspace, report: Reporter | None = None) -> Engine:
    """The running engine; on Debian one is installed and started if there is none.

    Raises:
        ClusterError: None runs, and none may or can be started here.
    """
    report = report or Reporter()
    with workspace.locked("engine"):
        if found := find_engine(workspace):
            return found
        if workspace.settings.cluster is ClusterChoice.KIND:
            raise ClusterError("No Docker engine answers: start Docker, or use CLUSTER=auto, which starts Debian's.")
        require_engine(workspace)
        marks = (str(engine_folder(workspace)), str(data_folder(workspace)))
        if others := leftovers.daemons_besides(marks, leftovers.running_processes()):
            raise ClusterError(
                f"A Docker engine runs already (process {others[0]}), but it does not answer here: set DOCKER_HOST to "
                "its socket, or stop it. Two engines would overwrite each other's network rules."
            )
        install_packages(report)
        if found := find_engine(workspace):
            return found  # where services are managed, the package itself has started it
        with report.step("Starting Docker's engine"):
            _start(workspace)
        engine = find_engine(workspace)
        if engine is None:
            raise ClusterError("Docker's engine was started but does not answer." + _log_tail(workspace))
        return engine


def missing_packages() -> list[str]:
    """Those of `DEBIAN_PACKAGES` that are not installed."""
    try:
        listed = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"])
    except CommandFailedError:
        return list(DEBIAN_PACKAGES)
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [name for name in DEBIAN_PACKAGES if name not in installed]


def install_packages(report: Reporter) -> None:
    """Install what is missing of `DEBIAN_PACKAGES`.

    Raises:
        CommandFailedError: apt-get failed.
    """
    missing = missing_packages()
    if not missing:
        return
    environment = base_environment() | {"DEBIAN_FRONTEND": "noninteractive"}
    with report.step(f"Installing {', '.join(missing)}") as step:
        stream(["apt-get", "update"], step.update, environment=environment)
        stream(
            ["apt-get", "install", "-y", "--no-install-recommends", *missing],
            step.update,
            environment=environment,
        )


def lacks_resource_capability(status: str) -> bool:
    """Whether a process with this /proc/PID/status may not have CAP_SYS_RESOURCE (bit 24)."""
    bound = next((line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), "0")
    return not int(bound, 16) >> 24 & 1


def daemon_command(workspace: Workspace, *, bounded: Path | None) -> list[str]:
    """The daemon's command line.

    Args:
        workspace: Whose folders it uses.
        bounded: The runtime to use in place of runc, where the machine lacks a capability.
    """
    folder = engine_folder(workspace)
    command = [
        "dockerd",
        *("--config-file", str(folder / "daemon.json")),
        *("--data-root", str(data_folder(workspace))),
        *("--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "docker.pid")),
        *("--host", own_host(workspace)),
        *("--exec-opt", "native.cgroupdriver=cgroupfs"),
        *("--storage-driver", "overlay2"),  # the fallback, vfs, would fill the disk
        *("--cgroup-parent", f"/{cgroup_of(workspace)}"),
        *("--log-level", "warn"),
    ]
    if bounded:
        command += ["--add-runtime", f"bounded={bounded}", "--default-runtime", "bounded"]
    return command


def _start(workspace: Workspace) -> None:
    folder = engine_folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    data_folder(workspace).mkdir(parents=True, exist_ok=True)
    _sweep(workspace)  # a machine that was switched off leaves a pid and a socket
    (folder / "daemon.json").write_text(json.dumps({"deprecated-key-path": str(folder / "key.json")}))
    bounded = None
    if lacks_resource_capability(Path("/proc/self/status").read_text()):
        bounded = _place_bounded_runtime(workspace)
    if not (folder / "before.json").exists():
        (folder / "before.json").write_text(json.dumps(_machine_before()))
    Path("/lib/modules").mkdir(exist_ok=True)  # kind mounts it into every node
    with (folder / "log").open("ab") as log:
        daemon = subprocess.Popen(  # noqa: S603
            daemon_command(workspace, bounded=bounded),
            env=base_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # it outlives this run
        )
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        if daemon.poll() is not None:
            raise ClusterError("Docker's engine ended at once." + _log_tail(workspace))
        if find_engine(workspace):
            return
        time.sleep(0.3)
    daemon.terminate()
    raise ClusterError(f"Docker's engine did not answer within {_START_SECONDS:.0f} s." + _log_tail(workspace))


def _place_bounded_runtime(workspace: Workspace) -> Path:
    # A copy: the engine may outlive this checkout. The interpreter is the machine's, not the checkout's virtualenv.
    folder = engine_folder(workspace)
    script = folder / "runc-bounded.py"
    shutil.copyfile(workspace.sources / "node-image/runc-bounded", script)
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    runtime = folder / "runc-bounded"
    runtime.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -IS {shlex.quote(str(script))} "$@"\n')
    runtime.chmod(0o755)
    return runtime


def _machine_before() -> dict[str, Any]:
    return {
        "iptables": _saved_rules("iptables"),
        "ip6tables": _saved_rules("ip6tables"),
        "ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text().strip(),
        "docker0": Path("/sys/class/net/docker0").exists(),
        "folders": [str(folder) for folder in _SIDE_FOLDERS if folder.exists()],
    }


def _read_before(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError):
        return {}  # never written, or cut short: nothing is known, so nothing is undone


def _saved_rules(flavour: str) -> str:
    try:
        return run([f"{flavour}-save"])
    except CommandFailedError:
        return ""


def _log_tail(workspace: Workspace) -> str:
    log = engine_folder(workspace) / "log"
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-12:]
    return f" Its log ({log}) ends with:\n" + "\n".join(f"  {line}" for line in lines)


def _daemon_pids(workspace: Workspace) -> list[int]:
    # The folders are ours alone, so whoever carries them on its command line was started by us.
    marks = (str(engine_folder(workspace)), str(data_folder(workspace)))
    return [
        pid
        for pid, command in leftovers.running_processes()
        if pid != os.getpid()
        and command.split(" ")[0].rsplit("/", 1)[-1]
        in {"dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy"}
        and any(mark in command for mark in marks)
    ]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended by itself


def _end_processes(pids: list[int], workspace: Workspace) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            _signal(pid, number)
        limit = time.monotonic() + _STOP_SECONDS
        while pids and time.monotonic() < limit:
            time.sleep(0.1)
            pids = [pid for pid in pids if pid in _daemon_pids(workspace)]
        if not pids:
            return


def _sweep(workspace: Workspace) -> None:
    """Take away what a daemon that was killed left in its folders."""
    _end_processes(_daemon_pids(workspace), workspace)
    # Containers outlive the daemon and its shims: whoever is in our cgroup is one of theirs.
    limit = time.monotonic() + _STOP_SECONDS
    while (pids := leftovers.processes_in_cgroups(cgroup_of(workspace))) and time.monotonic() < limit:
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.1)
    leftovers.remove_cgroups(cgroup_of(workspace))
    folders = [engine_folder(workspace), data_folder(workspace)]
    for point in leftovers.mounts_below(Path("/proc/mounts").read_text(), folders):
        succeeds(["umount", "-l", point])
    folder = engine_folder(workspace)
    shutil.rmtree(folder / "exec", ignore_errors=True)
    for name in ("docker.sock", "docker.pid"):
        (folder / name).unlink(missing_ok=True)


def stop_own_engine(workspace: Workspace, report: Reporter) -> None:
    """Stop the engine that we started, with all it runs, and undo what it changed on the machine.

    An engine that somebody else started is left alone.
    """
    folder = engine_folder(workspace)
    if not folder.exists():
        return
    with report.step("Stopping Docker's engine"):
        engine = find_engine(workspace)
        if engine and engine.own:
            if containers := engine.docker("ps", "-aq").split():
                engine.docker("rm", "--force", "--volumes", *containers)
            engine.docker("network", "prune", "--force")
        _sweep(workspace)
        _restore(_read_before(folder / "before.json"))
        shutil.rmtree(folder, ignore_errors=True)


def _restore(before: dict[str, Any]) -> None:
    if not before:
        return
    for flavour in ("iptables", "ip6tables"):
        for command in leftovers.commands_to_restore(str(before[flavour]), _saved_rules(flavour)):
            succeeds([flavour, *command])
    if not before["docker0"]:
        succeeds(["ip", "link", "delete", "docker0"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text(str(before["ip_forward"]))
    for folder in _SIDE_FOLDERS:
        if str(folder) not in before.get("folders", [str(folder)]):
            leftovers.remove_empty_folders(folder)


def remaining(workspace: Workspace) -> list[str]:
    """What of our own engine is still on the machine, one phrase each; empty when nothing is."""
    folders = [engine_folder(workspace), data_folder(workspace)]
    found = [f"process {pid}" for pid in _daemon_pids(workspace)]
    found += [f"mount {p}" for p in leftovers.mounts_below(Path("/proc/mounts").read_text(), folders)]
    found += [f"process {pid} in a container" for pid in sorted(leftovers.processes_in_cgroups(cgroup_of(workspace)))]
    found += [f"cgroup {path}" for path in leftovers.remove_cgroups(cgroup_of(workspace))]
    if engine_folder(workspace).exists():
        found.append(f"folder {engine_folder(workspace)}")
    others = leftovers.daemons_besides([str(p) for p in folders], leftovers.running_processes())
    if not others and find_engine(workspace) is None:  # with another engine these would be its own
        links = [p.name for p in Path("/sys/class/net").iterdir()]
        found += [f"network device {n}" for n in links if n == "docker0" or n.startswith(("br-", "veth"))]
        found += [f"iptables rule {r}" for r in _saved_rules("iptables").splitlines() if "DOCKER" in r]
    return found
