"""Runs helm on the charts of this repository, and reads what it renders."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

# The one in C where it is there: ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
NAMES = ("consumer", "pact-broker", "pact-operator", "provider")


def ci_cases() -> list[tuple[str, Path]]:
    """Every chart with each of its ci/*-values.yaml."""
    return [(name, path) for name in NAMES for path in sorted((CHARTS / name / "ci").glob("*-values.yaml"))]


CI_CASES = ci_cases()
CI_IDS = [f"{name}-{path.name.removesuffix('-values.yaml')}" for name, path in CI_CASES]


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Helm:
    """The helm program, cut off from the settings of whoever runs the tests."""

    path: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _rendered: dict[tuple[str, ...], Outcome] = field(default_factory=dict, repr=False, compare=False)

    def run(self, *arguments: str) -> Outcome:
        """Run helm."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KUBECONFIG": str(self.home / "no-kubeconfig"),
            **self.environment,
        }
        done = subprocess.run(
            [str(self.path), *arguments], capture_output=True, text=True, env=environment, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def template(
        self,
        chart: str | Path,
        *,
        values: Path | None = None,
        settings: Sequence[str] = (),
        release: str = "",
        namespace: str = "pact-demo",
    ) -> Outcome:
        """Render a chart.

        Args:
            chart: Name of one of our charts, or the path of another.
            values: A values file.
            settings: Settings as `--set` takes them.
            release: Name of the release; the chart's name if left out.
            namespace: Namespace of the release.
        """
        folder = CHARTS / chart if isinstance(chart, str) else chart
        arguments = ["template", release or folder.name, str(folder), "--namespace", namespace]
        if values is not None:
            arguments += ["--values", str(values)]
        for setting in settings:
            arguments += ["--set", setting]
        # Many tests ask for the same; no chart changes while they run.
        key = tuple(arguments)
        if key not in self._rendered:
            self._rendered[key] = self.run(*arguments)
        return self._rendered[key]

    def manifests(self, chart: str | Path, **options: Any) -> list[Manifest]:
        """Render a chart that must render, and parse it. Takes what `template` takes."""
        outcome = self.template(chart, **options)
        assert outcome.code == 0, outcome.errors
        return [document for document in yaml.load_all(outcome.output, Loader=_LOADER) if document]


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Those of the given kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def title(manifest: Manifest) -> str:
    """`Kind namespace/name`, for messages."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '-')}/{metadata['name']}"


@dataclass(frozen=True)
class PodTemplate:
    """A Pod that some object describes.

    Attributes:
        where: The object that describes it.
        labels: Labels that Pods made from it carry.
        namespace: Where such Pods run.
        spec: The Pod's spec.
        ours: Whether the operator completes it (it makes the Job around it).
    """

    where: str
    labels: dict[str, str]
    namespace: str
    spec: dict[str, Any]
    ours: bool = False

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All containers, those that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pod_templates(manifests: Sequence[Manifest]) -> Iterator[PodTemplate]:
    """Every Pod that rendered objects describe, also inside objects of the operator's kinds."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        where, namespace = title(manifest), manifest["metadata"].get("namespace", "")
        match manifest["kind"]:
            case "Pod":
                yield PodTemplate(where, manifest["metadata"]["labels"], namespace, spec)
            case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
                template = spec["template"]
                yield PodTemplate(where, template["metadata"]["labels"], namespace, template["spec"])
            case "CronJob":
                template = spec["jobTemplate"]["spec"]["template"]
                yield PodTemplate(where, template["metadata"]["labels"], namespace, template["spec"])
            case "PactConsumer":
                labels = {"pact-operator.dev/role": "consumer"}
                yield PodTemplate(where, labels, namespace, spec["template"]["spec"], ours=True)
            case "PactProvider" if "ephemeral" in spec["target"]:
                labels = {"pact-operator.dev/role": "verifier"}
                template = spec["target"]["ephemeral"]["template"]
                yield PodTemplate(where, labels, namespace, template["spec"], ours=True)
