"""The API server itself decides what a valid object is: samples of both sorts, and what may not change."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver import Api, ApiError

pytestmark = pytest.mark.apiserver

SAMPLES = Path(__file__).parent / "crds"


def samples(name: str) -> list[Any]:
    return [
        pytest.param(sample, id=sample["name"].replace(" ", "-"))
        for sample in yaml.safe_load((SAMPLES / name).read_text(encoding="utf-8"))
    ]


def manifest(sample: dict[str, Any], namespace: str) -> dict[str, Any]:
    body = {
        "apiVersion": "pact-operator.dev/v1alpha1",
        "kind": sample["kind"],
        "metadata": {"name": "sample", "namespace": namespace},
    }
    return body | ({"spec": sample["spec"]} if "spec" in sample else {})


@pytest.mark.parametrize("sample", samples("valid.yaml"))
async def test_a_valid_object_is_taken_and_comes_back_as_the_operator_reads_it(
    api: Api, namespace: str, sample: dict[str, Any]
) -> None:
    from pact_operator.engine.reconciler import MODELS

    stored = await api.create(manifest(sample, namespace), dry_run=True)
    parsed = MODELS[sample["kind"]].parse(stored)
    assert not isinstance(parsed, str), parsed


@pytest.mark.parametrize("sample", samples("invalid.yaml"))
async def test_an_invalid_object_is_refused_with_the_reason(api: Api, namespace: str, sample: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        await api.create(manifest(sample, namespace), dry_run=True)
    assert caught.value.status in (400, 422)
    assert sample["says"] in caught.value.message


async def test_an_edit_that_sets_a_second_target_is_refused(api: Api, namespace: str) -> None:
    sample = yaml.safe_load((SAMPLES / "valid.yaml").read_text(encoding="utf-8"))[4]
    await api.create(manifest(sample, namespace))
    with pytest.raises(ApiError, match="exactly one of ephemeral and service must be set"):
        await api.patch("PactProvider", namespace, "sample", {"spec": {"target": {"service": {"name": "users"}}}})
    swapped = {"spec": {"target": {"ephemeral": None, "service": {"name": "users"}}}}
    await api.patch("PactProvider", namespace, "sample", swapped)


async def test_a_run_cannot_be_changed(api: Api, namespace: str) -> None:
    sample = yaml.safe_load((SAMPLES / "valid.yaml").read_text(encoding="utf-8"))[6]
    await api.create(manifest(sample, namespace))
    with pytest.raises(ApiError, match="its spec cannot change"):
        await api.patch("PactVerification", namespace, "sample", {"spec": {"providerVersion": "2"}})
    # Labels may.
    await api.patch("PactVerification", namespace, "sample", {"metadata": {"labels": {"a": "b"}}})
