"""Values: what is accepted, what is refused and how, and that everything said about them agrees."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.charts import CHARTS, CI_CASES, CI_IDS, NAMES, Helm


@pytest.mark.parametrize("chart", NAMES)
def test_the_default_values_pass_helm_lint(helm: Helm, chart: str) -> None:
    outcome = helm.run("lint", "--strict", str(CHARTS / chart))
    assert outcome.code == 0, outcome.output + outcome.errors


@pytest.mark.parametrize(("chart", "values"), CI_CASES, ids=CI_IDS)
def test_each_installation_of_the_matrix_passes_helm_lint(helm: Helm, chart: str, values: Path) -> None:
    outcome = helm.run("lint", "--strict", str(CHARTS / chart), "--values", str(values))
    assert outcome.code == 0, outcome.output + outcome.errors


# chart, settings, words that the one sentence must have: the value that is wrong, and what it may be.
REFUSED = [
    ("pact-broker", ["flavour=litle"], ["/flavour", "'official', 'lite'"]),
    ("pact-broker", ["broker.replicas=1"], ["'broker' not allowed"]),
    ("pact-broker", ["replicas=two"], ["/replicas", "integer"]),
    ("pact-broker", ["replicas=-1"], ["/replicas", "minimum"]),
    ("pact-broker", ["logLevel=loud"], ["/logLevel", "'debug'"]),
    ("pact-broker", ["baseUrls[0]=pacts.example.org"], ["/baseUrls/0", "https?://"]),
    ("pact-broker", ["baseUrls[0]=http://user:word@pacts"], ["/baseUrls/0"]),
    ("pact-broker", ["webhooks.schemes={ftp}"], ["/webhooks/schemes/0", "'http', 'https'"]),
    ("pact-broker", ["webhooks.hosts[0]=a b"], ["/webhooks/hosts/0"]),
    ("pact-broker", ["postgres.image.tag=17"], ["/postgres/image/tag", "want string"]),
    ("pact-broker", ["postgres.image.repository=postgres:17"], ["/postgres/image/repository"]),
    ("pact-broker", ["postgres.database=Pact Broker"], ["/postgres/database"]),
    ("pact-broker", ["postgres.runAsUser=0"], ["/postgres/runAsUser", "minimum"]),
    ("pact-broker", ["postgres.persistence.size=big"], ["/postgres/persistence/size"]),
    ("pact-broker", ["auth.readonly.password=secret"], ["/auth/readonly", "'password' not allowed"]),
    ("pact-broker", ["service.port=99999"], ["/service/port", "maximum"]),
    ("pact-broker", ["databaseClean.schedule=nightly"], ["/databaseClean/schedule"]),
    ("pact-broker", ["pactBroker.pollInterval=30"], ["/pactBroker/pollInterval", "want string"]),
    ("pact-broker", ["pactBroker.pollInterval=30 seconds"], ["/pactBroker/pollInterval"]),
    ("pact-broker", ["networkPolicy.extraIngressFrom[0].pods=all"], ["/networkPolicy/extraIngressFrom/0", "'pods'"]),
    ("pact-broker", ["postgres.enabled=false"], ["database.existingSecret must name the Secret"]),
    ("pact-broker", ["ingress.enabled=true"], ["ingress.host must be set"]),
    ("pact-broker", ["flavour=lite", "databaseClean.enabled=true"], ["databaseClean.enabled needs flavour official"]),
    ("pact-broker", ["images.official.tag=latest"], ["images.official.tag must not be latest"]),
    ("pact-broker", ["postgres.image.tag=latest"], ["postgres.image.tag must not be latest"]),
    ("pact-operator", ["replicas=2"], ["'replicas' not allowed"]),
    ("pact-operator", ["watchNamespaces=pact-demo"], ["/watchNamespaces", "want array"]),
    ("pact-operator", ["watchNamespaces={Pact_Demo}"], ["/watchNamespaces/0"]),
    ("pact-operator", ["log.format=xml"], ["/log/format", "'plain', 'json'"]),
    ("pact-operator", ["hook.url=pact-operator:8080"], ["/hook/url"]),
    ("pact-operator", ["gate.copyTokenTo={Shop}"], ["/gate/copyTokenTo/0"]),
    (
        "pact-operator",
        ["gate.existingSecret=a", "gate.copyTokenTo={b}"],
        ["gate.copyTokenTo copies only the generated"],
    ),
    ("pact-operator", ["admission.failurePolicy=Open"], ["/admission/failurePolicy", "'Ignore', 'Fail'"]),
    ("pact-operator", ["admission.timeoutSeconds=60"], ["/admission/timeoutSeconds", "maximum"]),
    ("pact-operator", ["admission.certManager.issuer.kind=CA"], ["/admission/certManager/issuer/kind"]),
    ("pact-operator", ["rbac.brokerSecretNames={*}"], ["/rbac/brokerSecretNames/0"]),
    ("pact-operator", ["networkPolicy.apiServer.cidr=everywhere"], ["/networkPolicy/apiServer/cidr"]),
    ("pact-operator", ["jobImages.verifier.tag=latest"], ["jobImages.verifier.tag must not be latest"]),
    ("pact-operator", ["crds.keep=maybe"], ["/crds/keep", "boolean"]),
    ("provider", ["image.tag=latest"], ["image.tag must not be latest"]),
    ("provider", ["image.repository="], ["/image/repository"]),
    ("provider", ["healthPath=healthz"], ["/healthPath"]),
    ("provider", ["env[0].value=x"], ["/env/0", "'name'"]),
    ("provider", ["runAsUser=0"], ["/runAsUser", "minimum"]),
    ("provider", ["gate.hooks={post-upgrade}"], ["/gate/hooks/0", "'pre-upgrade'"]),
    ("provider", ["gate.hooks={}"], ["/gate/hooks"]),
    ("provider", ["gate.url=pact-operator:8080"], ["/gate/url"]),
    ("provider", ["gate.url=http://me:secret@pact-operator"], ["/gate/url"]),
    ("provider", ["gate.enabled=true", "gate.image.tag=latest"], ["gate.image.tag must not be latest"]),
    ("provider", ["pactProvider.target=live"], ["/pactProvider/target", "'ephemeral', 'service'"]),
    ("provider", ["pactProvider.selectors[0].manBranch=true"], ["/pactProvider/selectors/0", "'manBranch'"]),
    ("provider", ["pactProvider.includeWipPactsSince=yesterday"], ["/pactProvider/includeWipPactsSince"]),
    ("provider", ["pactProvider.run.retries=1"], ["/pactProvider/run", "'retries' not allowed"]),
    ("provider", ["pactProvider.run.maxConcurrent=0"], ["/pactProvider/run/maxConcurrent", "minimum"]),
    ("provider", ["networkPolicy.verifier.broker.cidr=10.0.0.1"], ["/networkPolicy/verifier/broker/cidr"]),
    ("consumer", ["version=latest"], ["version must not be latest"]),
    ("consumer", ["version=feat/x"], ["cannot be the tag of an image", "Set image.tag"]),
    ("consumer", ["run.readyTimeoutSeconds=1"], ["/run", "'readyTimeoutSeconds' not allowed"]),
    ("consumer", ["networkPolicy.broker.port=http"], ["/networkPolicy/broker/port", "integer"]),
    ("consumer", ["resources.request.cpu=1"], ["/resources", "'request' not allowed"]),
]


@pytest.mark.parametrize(("chart", "settings", "words"), REFUSED, ids=[f"{c}-{s[-1]}" for c, s, _ in REFUSED])
def test_a_wrong_value_is_named_in_the_refusal(helm: Helm, chart: str, settings: list[str], words: list[str]) -> None:
    outcome = helm.template(chart, settings=settings)
    assert outcome.code != 0, f"{settings} was accepted"
    assert [word for word in words if word not in outcome.errors] == [], outcome.errors
    assert outcome.output == "", "nothing may be rendered from values that were refused"


def _values(chart: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHARTS / chart / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def _schema(chart: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHARTS / chart / "values.schema.json").read_text(encoding="utf-8"))
    return loaded


def _disagreements(schema: dict[str, Any], node: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    if "properties" not in node:
        return
    if node.get("additionalProperties") is not False:
        yield f"{path or '(top)'}: the schema lets unknown keys through"
    # Mappings that go into a manifest as they are have no key in values.yaml, or not every one.
    if not value or path.rsplit(".", 1)[-1] == "resources":
        return
    known = set(node["properties"]) - {"global"}
    yield from (f"{path}.{key}: in values.yaml, not in the schema" for key in value.keys() - known)
    yield from (f"{path}.{key}: in the schema, not in values.yaml" for key in known - value.keys())
    for key in known & value.keys():
        if isinstance(value[key], dict):
            yield from _disagreements(schema, node["properties"][key], value[key], f"{path}.{key}")


@pytest.mark.parametrize("chart", NAMES)
def test_schema_and_values_know_the_same_keys(chart: str) -> None:
    schema = _schema(chart)
    assert list(_disagreements(schema, schema, _values(chart), "")) == []


def _readme_module() -> Any:
    spec = importlib.util.spec_from_file_location("charts_readme", CHARTS / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("chart", NAMES)
def test_the_readme_says_what_values_yaml_says(chart: str) -> None:
    readme = _readme_module()
    text = (CHARTS / chart / "README.md").read_text(encoding="utf-8")
    assert text == readme.readme(CHARTS / chart), "run: python charts/readme.py"


def test_a_readme_out_of_date_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = _readme_module()
    charts = tmp_path / "charts"
    for chart in NAMES:
        shutil.copytree(CHARTS / chart, charts / chart, ignore=shutil.ignore_patterns("templates", "files"))
    monkeypatch.setattr(readme, "CHARTS", charts)
    assert readme.main(["--check"]) == 0
    values = charts / "consumer" / "values.yaml"
    values.write_text(values.read_text(encoding="utf-8").replace("suspend: false", "suspend: true"), encoding="utf-8")
    assert readme.main(["--check"]) == 1
    assert "Out of date: charts/consumer/README.md. Run: python charts/readme.py" in capsys.readouterr().err
    assert readme.main([]) == 0
    assert readme.main(["--check"]) == 0
    values.write_text("bare: 1\n", encoding="utf-8")
    assert readme.main([]) == 1
    assert "values.yaml:1: bare has no `# --` comment above it" in capsys.readouterr().err
