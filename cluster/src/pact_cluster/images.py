"""The application images: built by the Dockerfiles of the parts, loaded into the kind node."""

import json
import os
import re
import shlex
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pact_cluster.baseimages import Bases, ensure_node_bases, ensure_postgres, ensure_python_bases, machine_markers
from pact_cluster.engine import Engine, ensure_engine
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.kind import Cluster, _kind, ensure_cluster, uses_local_images
from pact_cluster.report import Reporter
from pact_cluster.shell import base_environment, stream
from pact_cluster.workspace import ClusterChoice, Workspace, fingerprint

PREFIX = "pact-operator"
NAMES = ("operator", "broker-lite", "flask-provider", "fastapi-provider", "consumer", "publisher", "verifier", "gate")
_CONTENT_LABEL = "pact-operator.dev/content"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def dockerfile_of(root: Path, name: str) -> Path:
    """The Dockerfile of an image: of a service, a job, or an example such as `node-consumer` in examples/node/consumer.

    Raises:
        ClusterError: No part of that name has one.
    """
    folder = name.replace("-", "_")
    example = name.replace("-", "/", 1)
    for path in (f"services/{folder}", f"jobs/{folder}", f"examples/{example}"):
        dockerfile = root / path / "Dockerfile"
        if dockerfile.is_file():
            return dockerfile
    examples = [f"{path.parts[-3]}-{path.parts[-2]}" for path in sorted(root.glob("examples/[a-z]*/[a-z]*/Dockerfile"))]
    raise ClusterError(
        f"No image {name}: there is no services/{folder}/Dockerfile nor jobs/{folder}/Dockerfile; "
        f"there are {', '.join([*NAMES, *examples, 'postgres'])}."
    )


def declared_arguments(dockerfile: str) -> set[str]:
    """The names of a Dockerfile's build arguments."""
    return set(re.findall(r"^ARG\s+(\w+)", dockerfile, re.MULTILINE))


def copied_sources(dockerfile: str) -> list[str]:
    """The paths of the build context that a Dockerfile copies, in order; copies between stages do not count."""
    sources: list[str] = []
    for line in re.sub(r"\\\s*\n", " ", dockerfile).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction.upper() not in {"COPY", "ADD"} or "--from=" in rest:
            continue
        rest = re.sub(r"--\S+\s+", "", rest).strip()
        words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
        sources += words[:-1]
    return sources


def content_parts(root: Path, sources: Iterable[str]) -> Iterator[bytes]:
    """Names and contents of all files below some paths (globs allowed), without what Python compiles.

    Raises:
        ClusterError: A path matches nothing.
    """
    for source in sources:
        matches = sorted(root.glob(source.strip("/"))) if source.strip("/.") else [root]
        if not matches:
            raise ClusterError(f"{source} is copied into an image, but it does not exist.")
        for match in matches:
            files = sorted(match.rglob("*")) if match.is_dir() else [match]
            for file in files:
                if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
                    yield file.relative_to(root).as_posix().encode()
                    yield file.read_bytes()


def content_key(root: Path, dockerfile: Path, arguments: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that change when anything that goes into an image changes."""
    text = dockerfile.read_text()
    given = json.dumps(dict(arguments), sort_keys=True)
    return fingerprint([text, given, *content_parts(root, copied_sources(text))])


def reference_of(name: str, tag: str) -> str:
    """`pact-operator/NAME:TAG`.

    Raises:
        ClusterError: The tag is not allowed.
    """
    if not _TAG.fullmatch(tag) or tag == "latest":
        raise ClusterError(f"{tag!r} cannot be an image's tag: give a version such as 1.2.3 (not latest).")
    return f"{PREFIX}/{name}:{tag}"


def full_name(reference: str) -> str:
    """A reference as container runtimes write it: `pact-operator/x:1` is `docker.io/pact-operator/x:1`."""
    first, slash, _ = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    is_host = "." in first or ":" in first or first == "localhost"
    return reference if is_host else f"docker.io/{reference}"


def not_on_node(wanted: Mapping[str, str], listed: str) -> list[str]:
    """The references that a node lacks, or has with another content.

    Args:
        wanted: Reference to image id (`sha256:...`).
        listed: `crictl images --output json` of the node.
    """
    there = {
        (tag, image["id"]) for image in json.loads(listed).get("images") or [] for tag in image.get("repoTags") or []
    }
    return [reference for reference, image in wanted.items() if (full_name(reference), image) not in there]


def build_images(
    workspace: Workspace, wanted: Mapping[str, str | None], report: Reporter | None = None
) -> dict[str, str]:
    """Build images; those whose content has not changed are only tagged.

    Args:
        workspace: The repository.
        wanted: Image name (as in `pact-operator/<name>`) to tag; None: a tag made from the content.
        report: Told what is built.

    Returns:
        Each name's reference.

    Raises:
        ClusterError: A name or a tag is wrong, or the cluster is not ours to build for.
        CommandFailedError: A build failed.
    """
    report = report or Reporter()
    dockerfiles = {name: dockerfile_of(workspace.root, name) for name in wanted if name != "postgres"}
    for name, tag in wanted.items():
        if tag is not None:
            reference_of(name, tag)
    if workspace.settings.cluster is ClusterChoice.CONTEXT:
        raise ClusterError(
            f"The cluster {workspace.settings.context} pulls its images: push them to a registry that it reaches, and "
            "name them in the charts' values."
        )
    engine = ensure_engine(workspace, report)
    local = uses_local_images(workspace, engine, report)
    arguments = _base_arguments(workspace, engine, dockerfiles, report) if local else {name: {} for name in dockerfiles}
    built: dict[str, str] = {}
    if "postgres" in wanted:
        built["postgres"] = _postgres(workspace, engine, wanted["postgres"], report)
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        running = {
            name: pool.submit(_build, workspace, engine, name, file, wanted[name], arguments[name], local, report)
            for name, file in dockerfiles.items()
        }
    for name, future in running.items():
        built[name] = future.result()
    return {name: built[name] for name in wanted}


def load_images(workspace: Workspace, references: Iterable[str], report: Reporter | None = None) -> list[str]:
    """Load local images into the kind node.

    Args:
        workspace: Whose cluster.
        references: Images of the local engine.
        report: Told what is loaded.

    Returns:
        Those that were loaded; images that the node already has are left out.

    Raises:
        ClusterError: An image does not exist, or the cluster takes no images from here.
        CommandFailedError: Loading failed.
    """
    report = report or Reporter()
    cluster: Cluster = ensure_cluster(workspace, report)
    if cluster.engine is None:
        raise ClusterError(
            f"The cluster {cluster.context} pulls its images: they must lie in a registry that it reaches."
        )
    wanted: dict[str, str] = {}
    for reference in references:
        image = cluster.engine.image_id(reference)
        if image is None:
            raise ClusterError(f"There is no local image {reference}: build it first.")
        wanted[reference] = image
    listed = cluster.engine.docker("exec", "pact-control-plane", "crictl", "images", "--output", "json")
    missing = not_on_node(wanted, listed)
    if missing:
        with report.step(f"Loading {len(missing)} of {len(wanted)} images into the node"):
            _kind(workspace, "load", "docker-image", *missing)
    return missing


def machine_settings_in(workspace: Workspace, reference: str) -> list[str]:
    """Traces of this machine's own settings in an image: index addresses, private authorities, clients' files.

    Every layer is looked at, with files that a later layer hides, and the image's history.

    Returns:
        One phrase per trace; empty for a clean image.

    Raises:
        ClusterError: There is no such image.
    """
    engine = ensure_engine(workspace)
    if engine.image_id(reference) is None:
        raise ClusterError(f"There is no local image {reference}: build it first.")
    markers = machine_markers()
    history = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", reference)
    configuration = engine.docker("image", "inspect", "--format", "{{json .Config}}", reference)
    found = [
        f"setting {word}"
        for word in re.findall(r"\b(?:PIP_\w+|NPM_CONFIG_\w+|\w*_proxy|\w*_PROXY)=\S+", history + configuration)
    ]
    found += [f"text {m.decode()} in the history" for m in markers if m in (history + configuration).encode()]
    with tempfile.TemporaryDirectory(dir=workspace.cache) as scratch:
        archive = Path(scratch) / "image.tar"
        engine.docker("save", "--output", archive, reference)
        with tarfile.open(archive) as image:
            for member in image:
                stream_ = image.extractfile(member) if member.isfile() else None
                if stream_ is None or member.name.endswith(".json"):
                    continue
                try:
                    with tarfile.open(fileobj=stream_) as layer:
                        found += layer_traces(layer, markers)
                except tarfile.ReadError:
                    continue  # a version file or a checksum
    return sorted(set(found))


def layer_traces(layer: tarfile.TarFile, markers: list[bytes]) -> Iterator[str]:
    """Traces of the machine in one layer: pip's and other clients' files, and files that hold a marker."""
    for member in layer:
        if PurePosixPath(member.name).name in {"pip.conf", ".pip", ".netrc", ".pypirc", ".npmrc", "npmrc"}:
            yield f"file {member.name}"
        content = layer.extractfile(member) if member.isfile() else None
        if content is not None:
            data = content.read()
            yield from (f"text {m.decode(errors='replace')} in {member.name}" for m in markers if m in data)


def _base_arguments(
    workspace: Workspace, engine: Engine, dockerfiles: Mapping[str, Path], report: Reporter
) -> dict[str, dict[str, str]]:
    """The build arguments that put local base images in place of the official ones, for each image's name."""
    makers = {"PYTHON_IMAGE": ensure_python_bases, "NODE_IMAGE": ensure_node_bases}
    arguments: dict[str, dict[str, str]] = {}
    made: dict[str, Bases] = {}
    for name, dockerfile in dockerfiles.items():
        arguments[name] = {}
        for argument in sorted(makers.keys() & declared_arguments(dockerfile.read_text())):
            if argument not in made:
                made[argument] = makers[argument](workspace, engine, report)
            arguments[name] = {argument: made[argument].build, "RUNTIME_IMAGE": made[argument].runtime}
    return arguments


def _postgres(workspace: Workspace, engine: Engine, tag: str | None, report: Reporter) -> str:
    base = ensure_postgres(workspace, engine, report)
    reference = reference_of("postgres", tag or base.rpartition(":")[2])
    engine.docker("tag", base, reference)
    return reference


def _same_content(engine: Engine, name: str, key: str) -> str | None:
    """The id of an image of this name that was built from this content."""
    found = engine.docker(
        "images", "--quiet", "--no-trunc", "--filter", f"label={_CONTENT_LABEL}={name}-{key}", f"{PREFIX}/{name}"
    ).split()
    return found[0] if found else None


def _build(
    workspace: Workspace,
    engine: Engine,
    name: str,
    dockerfile: Path,
    tag: str | None,
    arguments: Mapping[str, str],
    local: bool,
    report: Reporter,
) -> str:
    key = content_key(workspace.root, dockerfile, arguments)
    reference = reference_of(name, tag or key)
    if same := _same_content(engine, name, key):
        engine.docker("tag", same, reference)
        return reference
    command = ["docker", "build", "--file", str(dockerfile), "--tag", reference]
    command += ["--label", f"{_CONTENT_LABEL}={name}-{key}"]
    if local:
        command.append("--network=host")
        for variable in _PROXIES:
            if variable in os.environ:
                command += ["--build-arg", variable]  # known to Docker: kept out of the image's history
    for argument, value in arguments.items():
        command += ["--build-arg", f"{argument}={value}"]
    with report.step(f"Building the image {reference}") as step:
        try:
            stream(
                [*command, str(workspace.root)],
                lambda line: step.update(line.strip()[:80]),
                environment=base_environment() | engine.environment,
            )
        except CommandFailedError as error:
            raise CommandFailedError(
                ["docker", "build", "--file", str(dockerfile.relative_to(workspace.root))], error.code, error.output
            ) from error
    return reference
