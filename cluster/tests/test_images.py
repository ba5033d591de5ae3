import io
import json
import tarfile
from pathlib import Path

import pytest

from pact_cluster.errors import ClusterError
from pact_cluster.images import (
    build_images,
    content_key,
    copied_sources,
    declared_arguments,
    dockerfile_of,
    full_name,
    layer_traces,
    not_on_node,
    reference_of,
)
from pact_cluster.workspace import Settings, Workspace

DOCKERFILE = """\
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE} AS build
COPY --chown=0:0 jobs/x/requirements.lock /tmp/
COPY libs/a/src \\
     jobs/x/src /app/
COPY ["jobs/x/with space", "/app/"]
FROM ${PYTHON_IMAGE}
COPY --from=build /app /app
"""


def test_what_a_dockerfile_copies_from_the_context() -> None:
    assert copied_sources(DOCKERFILE) == ["jobs/x/requirements.lock", "libs/a/src", "jobs/x/src", "jobs/x/with space"]


def test_a_dockerfile_says_which_base_images_it_starts_from() -> None:
    assert declared_arguments(DOCKERFILE) == {"PYTHON_IMAGE"}
    assert declared_arguments("ARG NODE_IMAGE=node:22-slim\nARG RUNTIME_IMAGE\nFROM x\n# ARG NOT\n") == {
        "NODE_IMAGE",
        "RUNTIME_IMAGE",
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("jobs/x/requirements.lock", "libs/a/src/a/__init__.py", "jobs/x/src/x.py", "jobs/x/with space/f"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "jobs/x/Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def test_the_key_follows_what_goes_in_and_nothing_else(root: Path) -> None:
    dockerfile = dockerfile_of(root, "x")
    key = content_key(root, dockerfile, {})

    (root / "jobs/x/README.md").write_text("not copied")
    (root / "jobs/x/src/__pycache__").mkdir()
    (root / "jobs/x/src/__pycache__/x.cpython-311.pyc").write_text("compiled")
    assert content_key(root, dockerfile, {}) == key

    assert content_key(root, dockerfile, {"PYTHON_IMAGE": "other"}) != key
    (root / "libs/a/src/a/__init__.py").write_text("changed")
    assert content_key(root, dockerfile, {}) != key


def test_an_example_is_an_image_too_and_an_unknown_name_is_told_which_there_are(root: Path) -> None:
    example = root / "examples/node/provider/Dockerfile"
    example.parent.mkdir(parents=True)
    example.write_text("FROM x\n")

    assert dockerfile_of(root, "node-provider") == example
    with pytest.raises(ClusterError, match=r"No image node-consumer: .*gate, node-provider, postgres\."):
        dockerfile_of(root, "node-consumer")


def test_a_source_that_is_not_there_is_named(root: Path) -> None:
    (root / "jobs/x/requirements.lock").unlink()

    with pytest.raises(ClusterError, match=r"jobs/x/requirements\.lock is copied into an image"):
        content_key(root, dockerfile_of(root, "x"), {})


@pytest.mark.parametrize("tag", ["latest", "", "a b", "-1", "x" * 200])
def test_tags_that_are_none_are_refused(tag: str) -> None:
    with pytest.raises(ClusterError, match="cannot be an image's tag"):
        reference_of("operator", tag)


def test_references_as_container_runtimes_write_them() -> None:
    assert full_name("pact-operator/x:1") == "docker.io/pact-operator/x:1"
    assert full_name("localhost/x:1") == "localhost/x:1"
    assert full_name("registry:5000/x:1") == "registry:5000/x:1"
    assert full_name("busybox:1") == "docker.io/library/busybox:1"


def test_only_images_that_the_node_lacks_in_this_content_are_loaded() -> None:
    listed = json.dumps(
        {
            "images": [
                {"id": "sha256:1", "repoTags": ["docker.io/pact-operator/a:1"]},
                {"id": "sha256:2", "repoTags": ["docker.io/pact-operator/b:1"]},
                {"id": "sha256:3", "repoTags": None},
            ]
        }
    )
    wanted = {
        "pact-operator/a:1": "sha256:1",
        "pact-operator/a:2": "sha256:1",  # the content is there, the name is not
        "pact-operator/b:1": "sha256:9",  # the name is there with another content
        "pact-operator/c:1": "sha256:3",
    }

    assert not_on_node(wanted, listed) == ["pact-operator/a:2", "pact-operator/b:1", "pact-operator/c:1"]
    assert not_on_node(wanted, "{}") == list(wanted)


def test_an_unknown_image_and_a_foreign_cluster_are_refused_before_anything_starts(root: Path) -> None:
    workspace = Workspace(root, root / "cache", root / "state", Settings.from_environment({"CLUSTER": "context:prod"}))

    with pytest.raises(ClusterError, match="No image y"):
        build_images(workspace, {"y": None})
    with pytest.raises(ClusterError, match="prod pulls its images"):
        build_images(workspace, {"x": None})
    assert not (root / "cache").exists()


def test_traces_of_the_machine_are_found_in_any_file_of_a_layer() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in {
            "etc/pip.conf": b"[global]",
            "opt/venv/x": b"index = https://index.example.test/simple",
            "app/fine.py": b"pass",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    buffer.seek(0)

    with tarfile.open(fileobj=buffer) as layer:
        assert list(layer_traces(layer, [b"index.example.test"])) == [
            "file etc/pip.conf",
            "text index.example.test in opt/venv/x",
        ]
