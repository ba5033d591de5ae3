"""The kind node from the inside, for faults that no API can make: kubelet, API server, images, processes.

What is done here works in the node that this project builds, whose PID 1 is a script, and in kind's own, which runs
systemd. Both have bash, cat and ctr.
"""

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from pact_cluster.engine import Engine
from pact_cluster.kind import NODE
from pact_cluster.shell import base_environment

GATE = "pact-operator-gate"
SAMPLE_SECONDS = 0.25

# Processes by name: `pids NAME`. pgrep is not in every node.
_PIDS = """
pids() {
  local p c; for p in /proc/[0-9]*; do
    c=; read -r c < $p/comm; [ "$c" = "$1" ] && echo ${p#/proc/}
  done 2> /dev/null; :
}
"""
# The script of PID 1 starts a kubelet that has ended again after a second, unless it may not be executed.
_STOP_KUBELET = """
if [ -d /run/systemd/system ]; then systemctl stop kubelet; else
  chmod a-x /usr/local/bin/kubelet; kill $(pids kubelet); while [ -n "$(pids kubelet)" ]; do sleep 0.1; done
fi
"""
_START_KUBELET = """
if [ -d /run/systemd/system ]; then systemctl start kubelet; else chmod a+x /usr/local/bin/kubelet; fi
while [ -z "$(pids kubelet)" ]; do sleep 0.1; done
"""
# A static Pod: the kubelet starts the container anew. Told to end, it would wait up to a minute for its watches.
_KILL_API_SERVER = """
old=$(pids kube-apiserver); kill -KILL $old
while new=$(pids kube-apiserver); [ -z "$new" ] || [ "$new" = "$old" ]; do sleep 0.1; done
"""
# A gate is a process whose command line ends with the gate's name; it waits for a file in its own root.
_GATES = """
gates() {
  local p w; for p in /proc/[0-9]*; do
    w=(); mapfile -d '' -t w < $p/cmdline; [ "${#w[@]}" -ge 2 ] && [ "${w[-2]} ${w[-1]}" = "$1" ] && echo $p
  done 2> /dev/null; :
}
"""


@dataclass(frozen=True)
class Node:
    """The node's container.

    Attributes:
        engine: The Docker engine that it runs on.
    """

    engine: Engine

    def run(self, script: str, *, seconds: float = 60) -> str:
        """Run a script of bash in the node.

        Raises:
            CommandFailedError: It failed, or took longer.
        """
        return self.engine.docker("exec", NODE, "bash", "-c", _PIDS + script, timeout=seconds)

    @contextmanager
    def kubelet_stopped(self) -> Iterator[None]:
        """No kubelet meanwhile. The containers run on; nobody starts new ones or tells of their end."""
        try:
            self.run(_STOP_KUBELET)
            yield
        finally:
            self.run(_START_KUBELET)

    def kill_api_server(self) -> None:
        """Kill the API server's process, and wait until another one is there; it is not ready yet then."""
        self.run(_KILL_API_SERVER, seconds=120)

    def gates(self, name: str) -> list[str]:
        """The processes that wait at a gate of that name, as folders of /proc."""
        return self.run(f"{_GATES}gates '{GATE} {name}'").split()

    def open_gates(self, name: str) -> None:
        """Let the processes through that wait at a gate of that name."""
        self.run(f"{_GATES}for p in $(gates '{GATE} {name}'); do : > $p/root/tmp/open || :; done 2> /dev/null")

    def tag_image(self, image: str, name: str) -> None:
        """Give an image of the node one more name; both in full, as in `docker.io/library/x:1`."""
        self.run(f"ctr --namespace k8s.io images tag --force {shlex.quote(image)} {shlex.quote(name)}")

    def remove_image(self, name: str) -> None:
        """Take a name from an image of the node."""
        self.run(f"ctr --namespace k8s.io images rm --sync {shlex.quote(name)}")

    @contextmanager
    def command_lines(self) -> Iterator[set[str]]:
        """The words of the command lines of every process in the node, its Pods' included, as they come."""
        words: set[str] = set()
        # Ends by itself when its input does: what runs in the node would outlive the client that asked for it.
        program = f"while cat /proc/[0-9]*/cmdline 2> /dev/null; read -t {SAMPLE_SECONDS}; [ $? -gt 128 ]; do :; done"
        with subprocess.Popen(
            ["docker", "exec", "--interactive", NODE, "bash", "-c", program],
            env=base_environment() | self.engine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            reader = threading.Thread(target=_collect, args=(process.stdout, words), daemon=True)
            reader.start()
            try:
                yield words
            finally:
                process.stdin.close()
                reader.join(timeout=30)
                process.terminate()


def _collect(stream: IO[bytes], words: set[str]) -> None:
    rest = b""
    while chunk := os.read(stream.fileno(), 65536):
        *whole, rest = (rest + chunk).split(b"\0")
        words.update(word.decode(errors="replace") for word in whole)


def gate_script(name: str) -> list[str]:
    """The command of a container that waits at a gate, until it is opened or `$GATE` is set, and then serves.

    Args:
        name: The gate's.
    """
    program = (
        "import os, time\n"
        "while not (os.environ.get('GATE') or os.path.exists('/tmp/open')):\n"
        "    time.sleep(0.05)\n"
        "os.execvp('python', ['python', '-m', 'flask_provider'])"
    )
    return ["python", "-c", program, GATE, name]


def until(holds: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait for something that tells nobody when it comes about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)
