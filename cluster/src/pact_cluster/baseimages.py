"""Base images where no registry answers: Debian packages, unpacked into a folder, made into one layer.

The image that builds (`PYTHON_IMAGE`) carries this machine's pip settings and certificates, so that `pip install`
reaches a package index; the one that runs (`RUNTIME_IMAGE`) carries nothing of this machine. The first is never
pushed, and no layer of it gets into a final image.
"""

import ast
import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pact_cluster.engine import Engine, install_packages
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.nodeimage import import_tree
from pact_cluster.report import Reporter
from pact_cluster.shell import run, which
from pact_cluster.workspace import Workspace, fingerprint, tree_parts

_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_PIP_FOLDER = "etc/pip"
# Manuals, translations and the package manager's own records; copyright files stay.
_UNUSED = (
    "etc/apt",
    "etc/hostname",
    "etc/resolv.conf",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale/*",
    "usr/share/man",
    "usr/share/doc-base",
    "usr/share/bash-completion",
    "var/cache/*",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log/*",
)
# Settings of pip that a build needs to reach its index. Paths of this machine mean nothing inside a build.
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
_USERS = "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\napp:x:10001:10001::/tmp:/bin/sh\n"
_GROUPS = "root:x:0:\npostgres:x:999:\napp:x:10001:\n"


@dataclass(frozen=True)
class Bases:
    """The local base images.

    Attributes:
        build: For `PYTHON_IMAGE`.
        runtime: For `RUNTIME_IMAGE`.
    """

    build: str
    runtime: str


@dataclass(frozen=True)
class Recipe:
    """What one base image is made of.

    Attributes:
        packages: Debian packages.
        remove: Glob patterns of files to leave out.
    """

    packages: tuple[str, ...]
    remove: tuple[str, ...]


def read_recipe(text: str, name: str) -> Recipe:
    """One table of packages.toml, with the table that it builds on.

    Raises:
        ClusterError: There is no such table.
    """
    tables = tomllib.loads(text)
    if name not in tables:
        raise ClusterError(f"cluster/base-images/packages.toml has no table {name}.")
    table = tables[name]
    base = read_recipe(text, table["also"]) if "also" in table else Recipe((), ())
    return Recipe(tuple(sorted({*table["packages"], *base.packages})), (*base.remove, *table.get("remove", ())))


def pip_settings(listed: str) -> dict[str, str]:
    """The settings of `pip config list` that matter inside a build; later places win as they do in pip."""
    order = {"global": 0, "user": 1, "site": 2, ":env:": 3}
    found: list[tuple[int, str, str]] = []
    for line in listed.splitlines():
        key, _, quoted = line.partition("=")
        place, _, name = key.rpartition(".")
        if name in _PIP_SETTINGS or name == "cert":
            found.append((order.get(place, 1), name, str(ast.literal_eval(quoted))))
    settings = {name: value for _, name, value in sorted(found, key=lambda item: item[0])}
    if "default-timeout" in settings:
        settings["timeout"] = settings.pop("default-timeout")
    return settings


def pip_conf(settings: Mapping[str, str], *, certificates: str) -> str:
    """A pip.conf with these settings and a certificate bundle's path inside the image."""
    values = {name: value for name, value in settings.items() if name != "cert"} | {"cert": certificates}
    lines = [f"{name} = {' '.join(value.split())}" for name, value in sorted(values.items())]
    return "\n".join(["[global]", *lines, "disable-pip-version-check = true", ""])


def apt_sources(files: Mapping[str, str], codename: str) -> list[str]:
    """Those apt sources (path to contents) that offer this Debian's `main`, and no third party's."""
    pattern = re.compile(rf"^\s*(deb\s.*\b|Suites:.*\b){re.escape(codename)}\b", re.MULTILINE)
    return [
        path
        for path, text in files.items()
        if pattern.search(text) and re.search(r"^[^#]*\bmain\b", text, re.MULTILINE)
    ]


def ensure_python_bases(workspace: Workspace, engine: Engine, report: Reporter) -> Bases:
    """The two Python base images, made if they are not there or their inputs have changed."""
    certificates, settings = _machine_settings()
    return Bases(
        build=_ensure(
            workspace,
            engine,
            "python-build",
            report,
            extra={f"{_PIP_FOLDER}/ca.pem": certificates, "etc/pip.conf": settings},
        ),
        runtime=_ensure(workspace, engine, "python", report),
    )


def ensure_postgres(workspace: Workspace, engine: Engine, report: Reporter) -> str:
    """The PostgreSQL image from Debian's packages.

    Returns:
        Its local reference.
    """
    entrypoint = workspace.sources / "base-images/postgres/entrypoint"
    return _ensure(
        workspace,
        engine,
        "postgres",
        report,
        extra={"usr/local/bin/docker-entrypoint.sh": entrypoint.read_text()},
        executable=("usr/local/bin/docker-entrypoint.sh",),
    )


def machine_markers() -> list[bytes]:
    """Byte strings that only this machine's settings would bring into an image: index hosts, private authorities."""
    certificates, _ = _machine_settings()
    settings = _pip_settings()
    hosts = [re.sub(r"^\w+://([^/@]*@)?", "", url).split("/")[0] for url in settings.get("index-url", "").split()]
    markers = [host.encode() for host in hosts if host and host != "pypi.org"]
    public = "".join(p.read_text() for p in sorted(Path("/usr/share/ca-certificates").rglob("*.crt")))
    for body in re.findall(r"-----BEGIN CERTIFICATE-----\s(.*?)-----END", certificates, re.DOTALL):
        lines = body.split()
        # The last full line is part of the signature: no other certificate has it.
        if len(lines) > 2 and "".join(lines) not in re.sub(r"\s", "", public):
            markers.append(lines[-2].encode())
    return markers


def _pip_settings() -> dict[str, str]:
    try:
        return pip_settings(run([sys.executable, "-m", "pip", "config", "list"]))
    except CommandFailedError:
        return {}


def _machine_settings() -> tuple[str, str]:
    settings = _pip_settings()
    candidates = [settings.get("cert"), os.environ.get("SSL_CERT_FILE"), f"/{_BUNDLE}"]
    bundle = next((Path(c) for c in candidates if c and Path(c).is_file()), None)
    return bundle.read_text() if bundle else "", pip_conf(settings, certificates=f"/{_PIP_FOLDER}/ca.pem")


def _ensure(
    workspace: Workspace,
    engine: Engine,
    name: str,
    report: Reporter,
    *,
    extra: Mapping[str, str] | None = None,
    executable: tuple[str, ...] = (),
) -> str:
    sources = workspace.sources / "base-images"
    inputs = json.dumps([name, _codename(), dict(extra or {})], sort_keys=True)
    key = fingerprint([inputs, Path(__file__).read_bytes(), *tree_parts(sources, "packages.toml")])
    reference = f"localhost/pact-{name}:{key}"
    with workspace.locked(f"base-{name}"):
        if engine.image_id(reference):
            return reference
        if os.geteuid() != 0 or which("apt-get") is None:
            raise ClusterError(
                "No container registry answers, and base images can be made only on Debian as root: "
                "make docker.io reachable, or run this as root on Debian."
            )
        install_packages(report)
        recipe = read_recipe((sources / "packages.toml").read_text(), name)
        with (
            report.step(f"Making the base image {name} from Debian packages") as step,
            tempfile.TemporaryDirectory(prefix="base-", dir=workspace.cache) as scratch,
        ):
            root = Path(scratch) / "root"
            step.update("packages")
            _unpack(recipe, root)
            for path, text in (extra or {}).items():
                target = root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
                target.chmod(0o755 if path in executable else 0o644)
            step.update("image")
            import_tree(engine, root, reference, *_configuration(name, root))
    return reference


def _configuration(name: str, root: Path) -> list[str]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if name != "postgres":
        return [f"ENV PATH={path}", "ENV LANG=C.UTF-8", 'CMD ["python3"]']
    programs = next(root.glob("usr/lib/postgresql/*/bin"))
    return [
        f"ENV PATH=/{programs.relative_to(root)}:{path}",
        "ENV LANG=C.UTF-8",
        "ENV PGDATA=/var/lib/postgresql/data/pgdata",
        "EXPOSE 5432",
        "USER 10001:10001",
        'ENTRYPOINT ["docker-entrypoint.sh"]',
        'CMD ["postgres"]',
    ]


def _unpack(recipe: Recipe, root: Path) -> None:
    run(
        [
            *("mmdebstrap", "--mode=root", "--format=directory", "--variant=extract"),
            f"--include={','.join(recipe.packages)}",
            _codename(),
            root,
            *_sources(),
        ]
    )
    for pattern in (*_UNUSED, *recipe.remove):
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in root.glob("usr/share/doc/*/*"):
        if path.name != "copyright":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    # What the packages' own scripts would have done.
    (root / "etc/passwd").write_text(_USERS)
    (root / "etc/group").write_text(_GROUPS)
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    if authorities:
        (root / _BUNDLE).write_text("".join(p.read_text() for p in authorities))
    if (root / "usr/bin/python3").exists() and not (root / "usr/bin/python").exists():
        (root / "usr/bin/python").symlink_to("python3")


def _codename() -> str:
    text = Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", text, re.MULTILINE)
    return found[1] if found else "stable"


def _sources() -> list[str]:
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.*"))]
    texts = {str(f): f.read_text() for f in files if f.is_file() and f.suffix in {".list", ".sources"}}
    return apt_sources(texts, _codename())
