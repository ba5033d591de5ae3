"""The node image where no registry answers: Debian's containerd and runc, our own build of Kubernetes.

Three images: one with every program of the control plane, tagged with each name that kubeadm asks for; pause; and
the node, which carries the first two as an archive.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pact_cluster.engine import DEBIAN_PACKAGES, Engine, install_packages
from pact_cluster.errors import ClusterError
from pact_cluster.report import Reporter
from pact_cluster.shell import base_environment, pipe, run, which
from pact_cluster.tools import KUBERNETES, KUBERNETES_VERSION, NODE_TOOLS, bin_folder, ensure_tools
from pact_cluster.workspace import Workspace, fingerprint, tree_parts

CONTROL_PLANE = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "etcd",
    "coredns",
)
PAUSE = "localhost/pause:1"
_PROGRAMS = (
    *("bash", "cat", "chmod", "cp", "find", "grep", "head", "ls", "mkdir", "mktemp", "mount", "mountpoint", "mv"),
    *("nsenter", "ps", "rm", "sleep", "tail", "touch", "tr", "umount", "ip", "runc", "sysctl"),
    *("containerd", "containerd-shim-runc-v2", "ctr"),
)
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
_IPTABLES = "/usr/sbin/xtables-nft-multi"


def libraries(ldd: str) -> list[str]:
    """The files that `ldd` names, the loader included, sorted."""
    return sorted({found for found in re.findall(r"(?:=> |^\s*)(/\S+)", ldd, re.MULTILINE) if not found.endswith(":")})


def node_image_key(workspace: Workspace) -> str:
    """A key of all that goes into the node image: programs, Debian's package versions, our files, this module."""
    packages = run(["dpkg-query", "-W", *DEBIAN_PACKAGES, "libc6", "bash", "coreutils", "findutils", "mount"])
    return fingerprint(
        [
            bin_folder(workspace, KUBERNETES).parent.name,
            packages,
            *tree_parts(workspace.sources / "node-image"),
            Path(__file__).read_bytes(),
        ]
    )


def ensure_node_image(workspace: Workspace, engine: Engine, report: Reporter) -> str:
    """The local node image; built only if anything that goes into it has changed.

    Returns:
        Its reference.

    Raises:
        ClusterError: A program of Debian's is missing.
        CommandFailedError: A build failed.
    """
    if which("apt-get") is None:
        raise ClusterError(
            "No container registry answers, and the node image can be built only on Debian: make "
            "docker.io reachable, or name a cluster with CLUSTER=context:NAME."
        )
    install_packages(report)
    reference = f"localhost/pact-node:{node_image_key(workspace)}"
    if engine.image_id(reference):
        return reference
    ensure_tools(workspace, NODE_TOOLS, report, own=True)
    with (
        report.step("Building the node image") as step,
        tempfile.TemporaryDirectory(prefix="node-image-", dir=workspace.cache) as scratch,
    ):
        work = Path(scratch)
        step.update("control plane")
        tags = _control_plane(workspace, engine, work / "kube")
        _pause(workspace, engine, work / "pause")
        step.update("node")
        _node(workspace, engine, work / "node", tags, reference)
    return reference


def import_tree(engine: Engine, root: Path, reference: str, *changes: str) -> None:
    """Make an image of one layer from a folder.

    Args:
        engine: Where the image goes.
        root: The folder; everything is owned by root in the image.
        reference: The image's name.
        changes: Dockerfile instructions for its configuration.
    """
    options = [word for change in changes for word in ("--change", change)]
    pipe(
        ["tar", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "-C", root, "-c", "."],
        ["docker", "import", *options, "-", reference],
        environment=base_environment() | engine.environment,
    )


def _put(root: Path, files: Iterable[Path]) -> None:
    """Copy files to their own paths below a root, with the shared libraries that they need."""
    for name in (
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "usr/local/bin",
        "etc",
        "var",
        "proc",
        "sys",
        "dev",
        "run",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for link in ("bin", "sbin", "lib", "lib64"):
        if not (root / link).is_symlink():
            (root / link).symlink_to(f"usr/{link}")
    wanted = [Path(file) for file in files]
    needed = [Path(name) for file in wanted for name in libraries(_ldd(file))]
    for file in dict.fromkeys([*needed, *wanted]):
        target = root / file.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy2(file, target)


def _ldd(file: Path) -> str:
    try:
        return run(["ldd", file])
    except ClusterError:
        return ""  # a static program


def _put_iptables(root: Path) -> None:
    # The nft flavour under the plain names; its plugins are libraries that are opened by name, with needs of their own.
    plugins = [p for kind in ("xt", "ipt", "ip6t") for p in Path("/usr/lib").glob(f"*/xtables/lib{kind}_*.so")]
    _put(root, [Path(_IPTABLES), *plugins])
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (root / "usr/sbin" / f"{name}{suffix}").symlink_to("xtables-nft-multi")


def _control_plane(workspace: Workspace, engine: Engine, root: Path) -> list[str]:
    _put_iptables(root)
    built = bin_folder(workspace, KUBERNETES)
    for name in CONTROL_PLANE:
        shutil.copy2(built / name, root / "usr/local/bin" / name)
    tags = [f"localhost/{name}:{KUBERNETES_VERSION}" for name in CONTROL_PLANE]
    import_tree(engine, root, tags[0], "ENV PATH=/usr/local/bin:/usr/sbin", 'ENTRYPOINT ["coredns"]')
    for tag in tags[1:]:
        engine.docker("tag", tags[0], tag)
    return tags


def _pause(workspace: Workspace, engine: Engine, root: Path) -> None:
    root.mkdir()
    run(["gcc", "-O2", "-static", "-s", "-o", root / "pause", workspace.sources / "node-image/pause.c"])
    import_tree(engine, root, PAUSE, 'ENTRYPOINT ["/pause"]')


def _node(workspace: Workspace, engine: Engine, root: Path, tags: list[str], reference: str) -> None:
    _put_iptables(root)
    # Debian's own, not what somebody has put into /usr/local.
    found = {name: [p for p in (Path("/usr/bin") / name, Path("/usr/sbin") / name) if p.exists()] for name in _PROGRAMS}
    if missing := [name for name, paths in found.items() if not paths]:
        raise ClusterError(f"The node image needs {', '.join(missing)}, which this machine lacks: install them.")
    _put(root, [*(paths[0] for paths in found.values()), *(Path("/usr/lib/cni") / name for name in _CNI_PLUGINS)])
    (root / "usr/bin/sh").symlink_to("bash")
    shutil.copy2("/usr/lib/os-release", root / "etc/os-release")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/crictl.yaml").write_text("runtime-endpoint: unix:///run/containerd/containerd.sock\n")
    built, sources = bin_folder(workspace, KUBERNETES), workspace.sources / "node-image"
    for name in ("kubeadm", "kubelet", "kubectl", "crictl"):
        shutil.copy2(built / name, root / "usr/local/bin" / name)
    shutil.copyfile(sources / "entrypoint", root / "usr/local/bin/entrypoint")
    (root / "usr/local/bin/entrypoint").chmod(0o755)
    for name in ("root", "kind/manifests", "etc/containerd", "var/lib", "var/log"):
        (root / name).mkdir(parents=True)
    shutil.copyfile(sources / "nodes-may-list-nodes.yaml", root / "kind/manifests/default-cni.yaml")
    shutil.copyfile(sources / "containerd.toml", root / "etc/containerd/config.toml")
    (root / "kind/version").write_text(KUBERNETES_VERSION + "\n")
    engine.docker("save", "--output", root / "kind/images.tar", *tags, PAUSE)
    import_tree(
        engine,
        root,
        reference,
        "ENV container=docker",
        'ENTRYPOINT ["/usr/local/bin/entrypoint"]',
    )
