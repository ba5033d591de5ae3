"""promtool: the machine's own, else out of Debian's package prometheus - unpacked, never installed.

Installing the package would start a Prometheus server, and needs root; unpacking does neither.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from pact_cluster import Workspace

PACKAGE = "prometheus"


class NoPromtoolError(Exception):
    """promtool cannot be had here; the message says what to do."""


def promtool() -> Path:
    """The program.

    Raises:
        NoPromtoolError: it is not on the machine, and no Debian package of it can be had.
    """
    if own := shutil.which("promtool"):
        return Path(own)
    place = Workspace.find().cache / "promtool" / "promtool"
    if not place.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise NoPromtoolError("The alerts cannot be tested without promtool: install Prometheus's tools.")
        place.parent.mkdir(parents=True, exist_ok=True)
        _unpack(place)
    return place


def _unpack(place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as text:
        folder = Path(text)
        # apt gives the download away to a user of its own, who must be able to write here.
        folder.chmod(0o777)
        download = ["apt-get", "download", "-qq", PACKAGE]
        done = subprocess.run(download, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0 and os.geteuid() == 0:
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
            done = subprocess.run(download, cwd=folder, capture_output=True, text=True, check=False)
        found = list(folder.glob(f"{PACKAGE}_*.deb"))
        if not found:
            raise NoPromtoolError(f"Debian's package {PACKAGE} cannot be had for promtool: {done.stderr.strip()}")
        subprocess.run(["dpkg-deb", "--extract", str(found[0]), str(folder / "root")], check=True)
        # In one step: another run of the tests may be looking for it.
        (folder / "root/usr/bin/promtool").rename(place)
