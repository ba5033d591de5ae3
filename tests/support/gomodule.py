"""Files of other projects as they have published them, by Go modules: read where a test needs them, kept by nobody."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pact_cluster import Workspace


def module(path: str, version: str, checksum: str) -> Path:
    """The source of a published Go module.

    Args:
        path: such as `github.com/argoproj/argo-rollouts`.
        version: such as `v1.8.3`.
        checksum: what a go.sum says of it, `h1:...`: the test reads this content and no other.

    Returns:
        Its folder, read only, in the project's cache.
    """
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if go is None:
        pytest.fail(
            f"Go is needed to fetch {path} {version}, whose definitions this test checks against.", pytrace=False
        )
    cache = Workspace.find().cache / "modules"
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [go, "mod", "download", "-json", f"{path}@{version}"],
        env=os.environ | {"GOMODCACHE": str(cache), "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-modcacherw"},
        cwd=cache,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{path} {version} cannot be fetched: {done.stderr or done.stdout}", pytrace=False)
    told = json.loads(done.stdout)
    assert told["Sum"] == checksum, f"{path} {version} is not what was checked before: {told['Sum']}"
    return Path(told["Dir"])
