"""Nothing in the loop asks for Python: a consumer and a provider in Node, published, verified and recorded."""

import re
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from pact_cluster import build_images, ensure_engine, load_images
from pact_cluster.demo_releases import BRANCH, DEMO, Helm, Release, tag_of
from tests.support.kind import Kind

CONSUMER, PROVIDER = "node-consumer", "node-provider"
# Programs and the library; not the word in the name of a folder with helpers for a debugger.
PYTHON = re.compile(r"(python|pypy)[\d.]*|libpython[\d.]*\.so[\d.]*|pip[\d.]*")


@dataclass(frozen=True)
class Node:
    """What runs.

    Attributes:
        images: Name to reference.
        version: Of both sides; nobody has used it before, so the broker knows nothing of it.
    """

    namespace: str
    version: str
    images: dict[str, str]


@pytest.fixture(scope="module")
def node(kind: Kind) -> Iterator[Node]:
    """The charts `consumer` and `provider` with the Node images, in a namespace of their own."""
    version = f"0.1.0-{secrets.token_hex(4)}"
    build_images(kind.workspace, {CONSUMER: None, PROVIDER: None})  # keeps them for the next run
    images = build_images(kind.workspace, {CONSUMER: version, PROVIDER: version})
    load_images(kind.workspace, images.values())
    namespace = kind.namespace("node")
    kind.broker(namespace)
    helm = Helm(kind.workspace)
    # The Pods of `helm test` run Python.
    common = {"tests": {"enabled": False}}
    helm.apply(
        Release(
            CONSUMER,
            "consumer",
            namespace,
            {
                **common,
                "image": {"repository": f"pact-operator/{CONSUMER}"},
                "version": version,
                "branch": BRANCH,
                "networkPolicy": {"broker": {"namespace": DEMO}},
            },
        )
    )
    helm.apply(
        Release(
            PROVIDER,
            "provider",
            namespace,
            {
                **common,
                "image": {"repository": f"pact-operator/{PROVIDER}", "tag": version},
                "pactProvider": {"create": True, "branch": BRANCH},
                "networkPolicy": {"verifier": {"broker": {"namespace": DEMO}}},
            },
        )
    )
    yield Node(namespace, version, images)
    ensure_engine(kind.workspace).docker("rmi", *images.values())


def pythons(kind: Kind, image: str, scratch: Path) -> list[str]:
    """The files of an image that are Python, or a name for it."""
    engine = ensure_engine(kind.workspace)
    container = engine.docker("create", image).strip()
    archive = scratch / f"{container}.tar"
    try:
        engine.docker("export", "--output", str(archive), container)
    finally:
        engine.docker("rm", container)
    with tarfile.open(archive) as files:
        return [f.name for f in files if not f.isdir() and PYTHON.fullmatch(PurePosixPath(f.name).name)]


def test_the_images_hold_no_python(kind: Kind, node: Node, tmp_path: Path) -> None:
    assert pythons(kind, kind.image_of(), tmp_path), "Python is not even found in the Flask provider"
    for image in node.images.values():
        assert pythons(kind, image, tmp_path) == [], image


def test_the_pact_is_published(kind: Kind, node: Node) -> None:
    kind.wait(node.namespace, "PactConsumer", CONSUMER, status="True", reason="Published")
    with kind.broker_client() as client:
        published = client.version(CONSUMER, node.version)
    assert published, "the broker does not know the version"
    (tests,) = kind.pods(node.namespace, "consumer")
    ran = [c["image"] for c in tests["spec"].get("initContainers", []) if c["name"] == "tests"]
    assert ran == [node.images[CONSUMER]]


def test_the_provider_keeps_it_and_the_broker_says_so(kind: Kind, node: Node) -> None:
    kind.wait(node.namespace, "PactConsumer", CONSUMER, status="True", reason="Published")
    kind.wait(node.namespace, "PactProvider", PROVIDER, status="True", reason="AllVerified")
    found = kind.kube.get("PactProvider", node.namespace, PROVIDER)
    assert found
    assert found["status"]["version"] == node.version == tag_of(node.images[PROVIDER])

    assert kind.wait_read_back(node.namespace), "the version is new, and yet nothing was run"

    with kind.broker_client() as client:
        results = client.verification_results(PROVIDER, node.version)
    assert (CONSUMER, node.version, True) in [(r.consumer, r.consumer_version, r.success) for r in results]
    assert all(r.success for r in results)
