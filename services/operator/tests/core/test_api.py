from pathlib import Path
from typing import Any

import pytest
import yaml

from pact_operator.api import names
from pact_operator.api.crds import KINDS, definition, render
from pact_operator.api.reasons import ADVICE, Reason
from pact_operator.api.v1alpha1 import PactProvider, VersionSource

CRDS = Path(__file__).parents[4] / "charts" / "pact-operator" / "files" / "crds"


@pytest.mark.parametrize("kind", KINDS)
def test_the_chart_carries_the_crds_that_the_models_make(kind: str) -> None:
    path = CRDS / f"{names.PLURALS[kind]}.yaml"
    assert path.read_text(encoding="utf-8") == render(kind), "run `make crds`"


def every_schema(schema: Any, where: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(where, schema)]
    for name, part in schema.get("properties", {}).items():
        found += every_schema(part, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += every_schema(schema[key], f"{where}[]")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_typed_and_described(kind: str) -> None:
    [version] = definition(kind)["spec"]["versions"]
    for where, schema in every_schema(version["schema"]["openAPIV3Schema"]):
        assert "type" in schema, where
        assert "$ref" not in schema, where
        assert "anyOf" not in schema, where
        if where and not where.endswith("[]") and where != ".metadata":
            assert len(schema.get("description", "")) > 10, where


def test_every_reason_says_who_must_act_and_what_next() -> None:
    assert set(ADVICE) == set(Reason)
    for reason, advice in ADVICE.items():
        assert advice.next_step.endswith("."), reason


def test_a_bad_field_is_named_in_one_sentence() -> None:
    told = PactProvider.parse({"metadata": {}, "spec": {"brokerRef": {"name": "b"}, "pacticipant": "p"}})
    assert told == "spec.version: field required"


def test_a_field_that_the_api_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="fromworkload"):
        VersionSource.model_validate({"fromworkload": {"name": "users"}})


def test_names_in_yaml_are_those_of_the_crd() -> None:
    loaded = yaml.safe_load((CRDS / "pactproviders.yaml").read_text(encoding="utf-8"))
    assert loaded["spec"]["names"]["categories"] == ["pact"]
