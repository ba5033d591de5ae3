"""Base images where no registry answers: Debian packages, unpacked into a folder, made into one layer.

The image that builds (`PYTHON_IMAGE`, `NODE_IMAGE`) carries this machine's pip or npm settings and certificates, so
that `pip install` and `npm ci` reach a package index; the one that runs (`RUNTIME_IMAGE`) carries nothing of this
machine. The first is never pushed, and no layer of it gets into a final image.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pact_cluster.engine import Engine, install_packages
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.nodeimage import import_tree
from pact_cluster.report import Reporter
from pact_cluster.shell import run, which
from pact_cluster.workspace import Workspace, fingerprint

_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_PIP_FOLDER = "etc/pip"
_NPM_FOLDER = "etc/npm"
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
# The same of npm, with the registries of scopes (`@scope:registry`). Credentials stay out.
_NPM_SETTINGS = re.compile(r"(@[^:]+:)?registry|(https-)?proxy|noproxy|strict-ssl|fetch-(retries|timeout)")
_USERS = "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\napp:x:10001:10001::/tmp:/bin/sh\n"
_GROUPS = "root:x:0:\npostgres:x:999:\napp:x:10001:\n"
_PUBLIC_HOSTS = ("pypi.org", "registry.npmjs.org")


@dataclass(frozen=True)
class Bases:
    """The local base images of a language.

    Attributes:
        build: For `PYTHON_IMAGE` or `NODE_IMAGE`.
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


def npmrc(settings: Mapping[str, Any], *, certificates: str) -> str:
    """An npmrc with those settings of `npm config list --json` that matter inside a build.

    Args:
        settings: Names and values, npm's defaults among them.
        certificates: A certificate bundle's path inside the image.
    """
    # An empty list is npm's way to say that nothing is set.
    values = {
        name: value
        for name, value in settings.items()
        if _NPM_SETTINGS.fullmatch(name) and value not in (None, "", [], [""])
    } | {"cafile": certificates}
    lines = []
    for name, value in sorted(values.items()):
        text = ",".join(map(str, value)) if isinstance(value, list) else value
        lines.append(f"{name}={text if isinstance(text, str) else json.dumps(text)}")
    return "\n".join([*lines, "update-notifier=false", ""])


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
    settings = _pip_settings()
    extra = {
        f"{_PIP_FOLDER}/ca.pem": _certificates(settings.get("cert")),
        "etc/pip.conf": pip_conf(settings, certificates=f"/{_PIP_FOLDER}/ca.pem"),
    }
    return Bases(
        build=_ensure(workspace, engine, "python-build", report, extra=extra),
        runtime=_ensure(workspace, engine, "python", report),
    )


def ensure_node_bases(workspace: Workspace, engine: Engine, report: Reporter) -> Bases:
    """The two Node base images, made if they are not there or their inputs have changed."""
    settings = _npm_settings()
    extra = {
        f"{_NPM_FOLDER}/ca.pem": _npm_certificates(settings),
        f"{_NPM_FOLDER}/npmrc": npmrc(settings, certificates=f"/{_NPM_FOLDER}/ca.pem"),
    }
    return Bases(
        build=_ensure(workspace, engine, "nodejs-build", report, extra=extra),
        runtime=_ensure(workspace, engine, "nodejs", report),
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
    pip, npm = _pip_settings(), _npm_settings()
    urls = [*pip.get("index-url", "").split(), *(str(url) for name, url in npm.items() if name.endswith("registry"))]
    hosts = [re.sub(r"^\w+://([^/@]*@)?", "", url).split("/")[0] for url in urls]
    markers = [host.encode() for host in dict.fromkeys(hosts) if host and host not in _PUBLIC_HOSTS]
    bundles = {_certificates(pip.get("cert")), _npm_certificates(npm)}
    certificates = "\n".join(sorted(bundles))
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


def _npm_settings() -> dict[str, Any]:
    """What npm says of itself; empty where there is no npm: its defaults hold then."""
    npm = which("npm")
    if npm is None:
        return {}
    try:
        settings: dict[str, Any] = json.loads(run([npm, "config", "list", "--json"]))
    except (CommandFailedError, ValueError):
        return {}
    return settings


def _npm_certificates(settings: Mapping[str, Any]) -> str:
    """What npm trusts: its own bundle if it names one, else this machine's and what Node is told to add."""
    extra = Path(os.environ.get("NODE_EXTRA_CA_CERTS", ""))
    bundle = _certificates(settings.get("cafile"))
    if settings.get("cafile") or not extra.is_file() or extra.read_text() in bundle:
        return bundle
    return f"{bundle}\n{extra.read_text()}"


def _certificates(configured: str | None) -> str:
    """The bundle that a client of a package index is told to trust, or else this machine's."""
    candidates = [configured, os.environ.get("SSL_CERT_FILE"), f"/{_BUNDLE}"]
    bundle = next((Path(c) for c in candidates if c and Path(c).is_file()), None)
    return bundle.read_text() if bundle else ""


def _ensure(
    workspace: Workspace,
    engine: Engine,
    name: str,
    report: Reporter,
    *,
    extra: Mapping[str, str] | None = None,
    executable: tuple[str, ...] = (),
) -> str:
    recipe = read_recipe((workspace.sources / "base-images/packages.toml").read_text(), name)
    inputs = json.dumps([name, _codename(), asdict(recipe), dict(extra or {})], sort_keys=True)
    key = fingerprint([inputs, Path(__file__).read_bytes()])
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
        program = "node" if name.startswith("nodejs") else "python3"
        changes = [f"ENV PATH={path}", "ENV LANG=C.UTF-8", f'CMD ["{program}"]']
        return [*changes, f"ENV NPM_CONFIG_GLOBALCONFIG=/{_NPM_FOLDER}/npmrc"] if name == "nodejs-build" else changes
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
