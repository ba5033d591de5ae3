"""The judgement of `skaffold verify`: what holds, what may still come to hold, and what will not."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = ROOT / "cluster/skaffold/verify/contracts_hold.py"
    spec = importlib.util.spec_from_file_location("contracts_hold", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Frozen dataclasses with slots look themselves up by module name.
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def body(status: str, reason: str, *, version: str = "2", observed: int = 3) -> dict[str, Any]:
    return {
        "kind": "PactProvider",
        "metadata": {"name": "shop", "generation": 3},
        "spec": {"pacticipant": "shop"},
        "status": {
            "observedGeneration": observed,
            "version": version,
            "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": "m"}],
        },
    }


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (body("True", "AllVerified"), "holds"),
        (body("True", "AllVerified", version="1"), "waits"),
        (body("True", "AllVerified", observed=2), "waits"),
        (body("Unknown", "VerificationPending"), "waits"),
        (body("False", "ImagePullFailed"), "waits"),
        (body("False", "ContractBroken"), "fails"),
        (body("False", "ContractBroken", version="1"), "waits"),
        (body("False", "AReasonOfALaterOperator"), "waits"),
        ({"kind": "PactProvider", "metadata": {"name": "shop", "generation": 1}}, "waits"),
    ],
)
def test_an_object_is_judged_by_a_status_of_its_own_version_only(
    check: ModuleType, found: dict[str, Any], verdict: str
) -> None:
    assert check.judge(found, "2").verdict == verdict


def test_a_version_that_is_not_known_yet_is_waited_for(check: ModuleType) -> None:
    assert check.judge(body("True", "AllVerified"), None).verdict == "waits"


def test_only_pairs_with_a_pact_are_asked_for(check: ModuleType) -> None:
    consumer = {"spec": {"pacticipant": "web"}, "status": {"pacts": [{"provider": "shop"}]}}
    shop, other = ({"spec": {"pacticipant": name}} for name in ("shop", "other"))
    assert check.pairs([consumer], [shop, other]) == [(consumer, shop)]


def test_all_together(check: ModuleType) -> None:
    holds, waits, fails = (check.State(verdict, "") for verdict in ("holds", "waits", "fails"))
    assert check.overall([holds], [holds], [holds]).verdict == "holds"
    # A failure of the provider is final only when the consumer has had its say.
    assert check.overall([waits], [fails], []).verdict == "waits"
    assert check.overall([fails], [waits], []).verdict == "fails"
    assert check.overall([holds], [fails], [holds]).verdict == "fails"
    assert check.overall([holds], [holds], [fails]).verdict == "fails"
    # The object says that all is well, the broker has no result: not yet.
    assert check.overall([holds], [holds], [waits]).verdict == "waits"
    # Nothing was checked: that is no success.
    assert check.overall([holds], [holds], []).verdict == "fails"
    assert check.overall([], [], []).verdict == "waits"
