"""What the demo builds: versions that are made from content, and changed copies of the tree."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.images import content_key, dockerfile_of
from pact_cluster.shell import base_environment, run
from pact_cluster.workspace import Workspace

# What Dockerfiles copy from, and what base images are made from.
_COPIED = (".dockerignore", "cluster", "jobs", "libs", "services")


def content_version(root: Path, image: str, series: str) -> str:
    """A version that says what is in an image: `<series>-<8 hexadecimal digits of its sources>`.

    Args:
        root: The tree that it is built from.
        image: Its name, such as `flask-provider`.
        series: Such as `1.0.0`.
    """
    return f"{series}-{content_key(root, dockerfile_of(root, image), {})[:8]}"


@contextmanager
def patched(workspace: Workspace, patch: Path) -> Iterator[Workspace]:
    """A copy of the tree with a patch applied; gone at the end.

    Args:
        workspace: The repository; stays as it is.
        patch: A patch as `git diff` writes it, relative to the repository.

    Yields:
        The same workspace with the copy as its repository.

    Raises:
        ClusterError: The patch is not there or does not fit the tree any more.
    """
    if not patch.is_file():
        raise ClusterError(f"{patch} is missing: restore it from the repository.")
    with tempfile.TemporaryDirectory(prefix="pact-demo-") as scratch:
        root = Path(scratch) / "tree"
        root.mkdir()
        for name in _COPIED:
            source = workspace.root / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc"))
            elif source.exists():
                shutil.copy2(source, root / name)
        try:
            # A repository above the copy would make git look for the files there.
            run(
                ["git", "apply", "--whitespace=nowarn", str(patch)],
                environment=base_environment() | {"GIT_CEILING_DIRECTORIES": os.fspath(root.parent)},
                folder=root,
            )
        except CommandFailedError as error:
            raise ClusterError(
                f"{patch.name} does not fit the tree any more; take your change back or "
                f"renew the patch: {error.output.strip()}"
            ) from error
        yield dataclasses.replace(workspace, root=root)
