"""examples/gate: what others' controllers and API servers make of it."""

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import lupa.lua51 as lua
import pytest
import yaml

from pact_operator.api.reasons import Reason
from tests.charts.charts import ROOT, Helm, PodTemplate, of_kind, pod_templates
from tests.charts.security import hardened, restricted
from tests.support.gomodule import module

EXAMPLES: Final = ROOT / "examples/gate"
ROLLOUTS: Final = (
    "github.com/argoproj/argo-rollouts",
    "v1.8.3",
    "h1:blbtQva4IK9r6gFh+dWkCrLnFdPOWiv9ubQYu36qeaA=",
)
CERT_MANAGER: Final = (
    "github.com/cert-manager/cert-manager",
    "v1.18.2",
    "h1:H2P75ycGcTMauV3gvpkDqLdS3RSXonWF2S49QGA1PZE=",
)
FLAGGER: Final = ("github.com/fluxcd/flagger", "v1.41.0", "h1:oER1/QCK6AmooATKtOalu4i+fVL388wgk1yaErw06Tw=")


def documents(path: str) -> list[dict[str, Any]]:
    found = [body for body in yaml.safe_load_all((EXAMPLES / path).read_text(encoding="utf-8")) if body]
    assert found
    return found


# --- what an API server takes ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def definitions(client: httpx.Client) -> httpx.Client:
    """The API server with the kinds of Argo Rollouts, Flagger and cert-manager, as these have published them."""
    rollouts, flagger, cert_manager = module(*ROLLOUTS), module(*FLAGGER), module(*CERT_MANAGER)
    paths = [
        rollouts / "manifests/crds/rollout-crd.yaml",
        rollouts / "manifests/crds/analysis-template-crd.yaml",
        flagger / "artifacts/flagger/crd.yaml",
        cert_manager / "deploy/crds/crd-certificates.yaml",
        cert_manager / "deploy/crds/crd-issuers.yaml",
    ]
    base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for path in paths:
        for body in yaml.load_all(
            path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        ):
            # cert-manager's are templates of its chart, but only there.
            body["metadata"].pop("labels", None)
            answer = client.post(base, json=body)
            assert answer.status_code == 201, f"{path.name}: {answer.text}"
    return client


def _send(client: httpx.Client, body: Mapping[str, Any], plural: str) -> httpx.Response:
    version = body["apiVersion"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    url = f"{base}/namespaces/{body['metadata'].get('namespace', 'shop')}/{plural}"
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    # A kind is served a moment after its definition was taken.
    deadline = time.monotonic() + 30
    while (answer := client.post(url, params=query, json=body)).status_code == 404 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


@pytest.mark.apiserver
@pytest.mark.parametrize(
    ("path", "plural"),
    [
        ("argo-rollouts/analysistemplate.yaml", "analysistemplates"),
        ("argo-rollouts/rollout.yaml", "rollouts"),
        ("flagger/canary.yaml", "canaries"),
        ("argo-cd/presync.yaml", "jobs"),
        ("argo-cd/argocd-cm.yaml", "configmaps"),
    ],
)
def test_an_api_server_with_the_published_definitions_takes_it(
    definitions: httpx.Client, path: str, plural: str
) -> None:
    for body in documents(path):
        answer = _send(definitions, body, plural)
        assert answer.status_code == 201, answer.text
        body["metadata"]["name"] = "with-a-mistake"
        if "spec" in body:
            body["spec"]["noSuchField"] = 1
            assert _send(definitions, body, plural).status_code >= 400, "an unknown field is found"


@pytest.mark.apiserver
def test_the_example_chart_makes_a_hardened_hook_that_an_api_server_takes(helm: Helm, client: httpx.Client) -> None:
    (job,) = helm.manifests(EXAMPLES / "helm", namespace="shop", release="web")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["metadata"]["annotations"]["helm.sh/hook-output-log-policy"] == "hook-failed,hook-succeeded"
    env = {item["name"]: item["value"] for item in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["GATE_VERSION"] == "1.2.0"
    assert _send(client, job, "jobs").status_code == 201
    assert helm.manifests(EXAMPLES / "helm", settings=["gate.enabled=false"]) == []


@pytest.mark.apiserver
def test_cert_manager_would_take_what_the_operators_chart_asks_of_it(helm: Helm, definitions: httpx.Client) -> None:
    settings = ["admission.enabled=true", "admission.certManager.enabled=true"]
    bodies = of_kind(helm.manifests("pact-operator", namespace="shop", settings=settings), "Issuer", "Certificate")
    assert len(bodies) == 2
    for body in bodies:
        answer = _send(definitions, body, f"{body['kind'].lower()}s")
        assert answer.status_code == 201, answer.text


def _hooks(helm: Helm) -> Iterator[PodTemplate]:
    bodies = [*documents("argo-cd/presync.yaml"), *helm.manifests(EXAMPLES / "helm", namespace="shop")]
    for body in bodies:
        body["spec"]["template"].setdefault("metadata", {"labels": {}})
        yield from pod_templates([body])


def test_the_jobs_of_the_examples_are_hardened(helm: Helm) -> None:
    templates = list(_hooks(helm))
    assert len(templates) == 2
    for template in templates:
        assert [*restricted(template), *hardened(template, with_token=False)] == []


# --- Argo Rollouts: when a metric has passed -------------------------------------------------------------------------


def _met(condition: str, result: Mapping[str, Any]) -> bool:
    """One of the two conditions, as github.com/antonmedv/expr reads them: fields, `!`, `&&`."""
    text = condition.replace("&&", " and ").replace("!", " not ").replace("result.", "result_")
    return bool(eval(text, {}, {f"result_{key}": value for key, value in result.items()}))


def _assessed(metric: Mapping[str, Any], answers: list[Mapping[str, Any] | None]) -> tuple[str, int]:
    """What becomes of a metric after some answers (None: an error), and how many were asked for.

    As analysis/analysis.go (assessMetricStatus) and utils/evaluate have it in the version above.
    """
    success = failed = inconclusive = errors = consecutive = count = 0
    for number, answer in enumerate(answers, 1):
        if answer is None:
            errors, consecutive = errors + 1, 0
        else:
            errors, count = 0, count + 1
            if _met(metric["failureCondition"], answer):
                failed, consecutive = failed + 1, 0
            elif _met(metric["successCondition"], answer):
                success, consecutive = success + 1, consecutive + 1
            else:
                inconclusive, consecutive = inconclusive + 1, 0
        if failed > metric["failureLimit"]:
            return "Failed", number
        if inconclusive > metric["inconclusiveLimit"]:
            return "Inconclusive", number
        if errors > metric["consecutiveErrorLimit"]:
            return "Error", number
        if consecutive >= metric["consecutiveSuccessLimit"]:
            return "Successful", number
        if count >= metric["count"]:
            return "Inconclusive", number
    return "Running", len(answers)


YES: Final = {"allowed": True, "retry": False}
NO: Final = {"allowed": False, "retry": False}
WAIT: Final = {"allowed": False, "retry": True}


@pytest.mark.parametrize(
    ("answers", "phase", "asked"),
    [
        ([YES], "Successful", 1),
        ([NO], "Failed", 1),
        ([WAIT, WAIT, YES], "Successful", 3),
        ([WAIT, None, NO], "Failed", 3),
        ([None] * 10 + [YES], "Successful", 11),
        ([None] * 20, "Error", 11),
        ([WAIT] * 200, "Inconclusive", 49),
        ([WAIT] * 48 + [YES], "Successful", 49),
    ],
)
def test_an_analysis_passes_only_by_a_yes(answers: list[Mapping[str, Any] | None], phase: str, asked: int) -> None:
    [template] = documents("argo-rollouts/analysistemplate.yaml")
    [metric] = template["spec"]["metrics"]
    assert _assessed(metric, answers) == (phase, asked)
    # What the controller refuses (utils/analysis/factory.go, ValidateMetric).
    assert metric["count"] >= metric["failureLimit"] + metric["consecutiveSuccessLimit"]
    assert metric["count"] >= metric["inconclusiveLimit"]


def test_the_rollout_asks_before_any_pod_of_the_new_version_and_gives_every_argument() -> None:
    [template] = documents("argo-rollouts/analysistemplate.yaml")
    [rollout] = documents("argo-rollouts/rollout.yaml")
    step = rollout["spec"]["strategy"]["canary"]["steps"][0]["analysis"]
    assert [t["templateName"] for t in step["templates"]] == [template["metadata"]["name"]]
    needed = {arg["name"] for arg in template["spec"]["args"] if not arg.keys() & {"value", "valueFrom"}}
    assert {arg["name"] for arg in step["args"]} == needed
    label = rollout["metadata"]["labels"]["app.kubernetes.io/version"]
    assert rollout["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f":{label}")


# --- Argo CD: health in Lua ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> str:
    [body] = documents("argo-cd/argocd-cm.yaml")
    customizations = yaml.safe_load(body["data"]["resource.customizations"])
    # The key is a glob over `group/Kind`.
    assert list(customizations) == ["pact-operator.dev/*"]
    return str(customizations["pact-operator.dev/*"]["health.lua"])


def health(script: str, obj: Mapping[str, Any]) -> tuple[str, str]:
    """Runs the script as Argo CD does for those of users: Lua 5.1 with its base library and tables, nothing else."""
    runtime = lua.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    kept = "print assert error ipairs next pairs pcall select tonumber tostring type unpack rawget rawset table"
    for name in list(runtime.globals()):
        if name not in kept.split() and name != "_G":
            runtime.globals()[name] = None
    runtime.globals()["obj"] = runtime.table_from(obj, recursive=True)
    said = runtime.execute(script)
    return str(said["status"]), str(said["message"])


def shown(
    kind: str, condition: Mapping[str, Any] | None, *, suspend: bool = False, generation: int = 2
) -> dict[str, Any]:
    conditions = [{"type": "Other", "status": "False", "reason": "Other", "message": "x", "observedGeneration": 2}]
    return {
        "kind": kind,
        "metadata": {"name": "users", "generation": generation},
        "spec": {"suspend": suspend} if kind != "PactVerification" else {},
        "status": {"conditions": [*conditions, *([condition] if condition else [])]},
    }


KINDS: Final = {
    "PactBroker": "Ready",
    "PactConsumer": "Ready",
    "PactProvider": "Ready",
    "PactVerification": "Succeeded",
}


@pytest.mark.parametrize("kind", KINDS)
def test_health_in_every_state(script: str, kind: str) -> None:
    for status, reason in itertools.product(("True", "False", "Unknown"), Reason):
        found = {
            "type": KINDS[kind],
            "status": status,
            "reason": str(reason),
            "message": f'of {reason}: "quoted"',
            "observedGeneration": 2,
        }
        expected = {"True": "Healthy", "False": "Degraded", "Unknown": "Progressing"}[status]
        if status == "Unknown" and reason is Reason.SUSPENDED:
            expected = "Suspended"
        if status == "Unknown" and reason is Reason.NOTHING_TO_VERIFY:
            expected = "Degraded" if kind == "PactVerification" else "Healthy"
        assert health(script, shown(kind, found)) == (expected, f'{reason}: of {reason}: "quoted"')


@pytest.mark.parametrize("kind", KINDS)
def test_health_before_and_between_looks(script: str, kind: str) -> None:
    assert health(script, {"kind": kind, "metadata": {"generation": 1}, "spec": {}})[0] == "Progressing"
    assert health(script, shown(kind, None))[0] == "Progressing"
    old = {"type": KINDS[kind], "status": "True", "reason": "AllVerified", "message": "m", "observedGeneration": 2}
    assert health(script, shown(kind, old, generation=3)) == (
        "Progressing",
        "The last change has not been looked at yet.",
    )


def test_health_of_what_is_suspended(script: str) -> None:
    broken = {"type": "Ready", "status": "False", "reason": "ContractBroken", "message": "m", "observedGeneration": 2}
    assert health(script, shown("PactProvider", broken, suspend=True))[0] == "Suspended"


def test_every_example_is_told_of() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/guides").glob("gate-*.md"))
    files = [path for path in EXAMPLES.rglob("*.yaml") if path.name not in ("Chart.yaml", "values.yaml")]
    assert [str(path) for path in files if f"examples/gate/{path.relative_to(EXAMPLES)}" not in told] == []
