"""Run, confirmed, verdict."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactVerification
from pact_operator.core.actions import CreateJob, Plan
from pact_operator.core.facts import Ended, Failure, JobFacts, PodFacts, Trouble, VerificationFacts, Waiting
from pact_operator.core.outcome import wants_results
from pact_operator.core.plan import CONFIRM_SECONDS, plan_verification
from pact_operator.core.times import UNFINISHED_SECONDS
from services.operator.tests.core.worlds import (
    NOW,
    SETTINGS,
    TEMPLATE,
    broken,
    broker,
    condition,
    message,
    meta,
    passed,
    results,
)

PACTS = [{"consumer": "web", "contentSha": "a1", "url": "http://broker/a1"}]
JOB = JobFacts("run", "uid-job", "uid-run")
STARTED = {"jobName": "run", "startTime": "2027-01-15T08:00:00Z"}


def run(status: dict[str, Any] | None = None, **spec: Any) -> PactVerification:
    given = {
        "brokerRef": {"name": "broker"},
        "pacticipant": "users",
        "providerVersion": "1.0.0",
        "target": {"ephemeral": {"template": TEMPLATE, "port": 8080}},
        "pacts": PACTS,
        "publishResults": True,
        **spec,
    }
    return PactVerification.model_validate({"metadata": meta("run"), "spec": given, "status": status or {}})


def facts(**more: Any) -> VerificationFacts:
    given = {
        "verification": run(STARTED),
        "broker": broker(),
        "job": JOB,
        "pod": None,
        "settings": SETTINGS,
        "now": NOW,
    }
    return VerificationFacts(**{**given, **more})


def ended(code: int, text: str = "", reason: str = "", at: float = NOW) -> PodFacts:
    return PodFacts("run-x", "Running", ended=(Ended(names.CONTAINER_VERIFIER, code, reason, text, at),))


def verdict(plan: Plan) -> tuple[str, str, bool]:
    told = condition(plan.status, "Succeeded")
    assert plan.status is not None
    return told["status"], told["reason"], "completionTime" in plan.status


SAID_PASSED = message(
    "Passed", "Passed", {"consumer": "web", "contentSha": "a1", "outcome": "Passed", "interactions": 3, "failed": 0}
)
SAID_BROKEN = message(
    "ContractBroken",
    "ContractBroken",
    {
        "consumer": "web",
        "contentSha": "a1",
        "outcome": "Failed",
        "interactions": 3,
        "failed": 1,
        "mismatch": "body $.email is missing",
    },
)
FAILED = replace(JOB, failed=True, failed_reason="PodFailurePolicy")


def test_a_new_run_asks_for_its_job_once() -> None:
    plan = plan_verification(facts(verification=run(), job=None))
    [create] = plan.actions
    assert isinstance(create, CreateJob)
    assert create.manifest["metadata"]["name"] == "run"
    assert create.manifest["metadata"]["ownerReferences"][0]["uid"] == "uid-run"
    assert verdict(plan) == ("Unknown", "Pending", False)
    assert plan.status is not None
    assert plan.status["jobName"] == "run"


def test_a_job_that_could_not_be_created_has_not_started() -> None:
    refused = {"CreateJob": Failure(Trouble.REFUSED, "exceeded quota: pods")}
    plan = plan_verification(facts(verification=run(), job=None, failed=refused))
    assert verdict(plan) == ("Unknown", "JobRejected", False)
    assert plan.status is not None
    assert "jobName" not in plan.status
    assert "exceeded quota" in condition(plan.status, "Succeeded")["message"]


@pytest.mark.parametrize(
    ("pod", "held", "expected"),
    [
        # What the broker holds decides, whatever was said.
        (ended(0, SAID_PASSED), results(passed()), ("True", "Passed", True)),
        (ended(1, SAID_BROKEN), results(broken()), ("False", "ContractBroken", True)),
        (ended(0, SAID_PASSED), results(broken()), ("False", "ContractBroken", True)),
        (ended(1, SAID_BROKEN), results(passed()), ("True", "Passed", True)),
        (ended(0, "no JSON"), results(passed()), ("True", "Passed", True)),
        # Passed, but not published: wait, then say so.
        (ended(0, SAID_PASSED), {}, ("Unknown", "Confirming", False)),
        (ended(0, SAID_PASSED, at=NOW - CONFIRM_SECONDS), {}, ("False", "ResultMissing", True)),
        (ended(0, SAID_PASSED, at=NOW - 9999), Failure(Trouble.UNAVAILABLE, "down"), ("Unknown", "Confirming", False)),
        (ended(0, SAID_PASSED), results(passed("web", "other")), ("Unknown", "Confirming", False)),
        (ended(2, message("NothingToVerify", "NothingToVerify")), None, ("Unknown", "NothingToVerify", True)),
        (PodFacts("p", "Running", running=(names.CONTAINER_VERIFIER,)), None, ("Unknown", "Running", False)),
        (PodFacts("p", "Pending"), None, ("Unknown", "Pending", False)),
        (None, None, ("Unknown", "Pending", False)),
        (
            PodFacts("p", "Pending", waiting=(Waiting("provider", "ImagePullBackOff", "not found"),)),
            None,
            ("Unknown", "ImagePullFailed", False),
        ),
        (
            PodFacts("p", "Pending", waiting=(Waiting("provider", "CreateContainerConfigError", "secret not found"),)),
            None,
            ("Unknown", "ContainerCannotStart", False),
        ),
        (PodFacts("p", "Pending", unschedulable="0/1 nodes: cpu"), None, ("Unknown", "Unschedulable", False)),
    ],
)
def test_the_verdict_of_a_run(pod: PodFacts | None, held: Any, expected: tuple[str, str, bool]) -> None:
    assert verdict(plan_verification(facts(pod=pod, results=held))) == expected


@pytest.mark.parametrize(
    ("pod", "job", "expected"),
    [
        (ended(75, message("InfrastructureError", "ProviderNotReady")), JOB, ("Unknown", "Retrying", False)),
        (ended(75, message("InfrastructureError", "ProviderNotReady")), FAILED, ("False", "ProviderNotReady", True)),
        (ended(75, message("InfrastructureError", "MadeUp")), FAILED, ("False", "JobFailed", True)),
        (ended(75, message("InfrastructureError", "ResultNotPublished")), FAILED, ("False", "ResultMissing", True)),
        (ended(75, message("InfrastructureError", "InvalidConfiguration")), FAILED, ("False", "InvalidSpec", True)),
        (ended(75, message("InfrastructureError", "PactInvalid")), FAILED, ("False", "PactInvalid", True)),
        (ended(137, "", "OOMKilled"), FAILED, ("False", "OutOfMemory", True)),
        (ended(139, "segmentation fault"), FAILED, ("False", "JobFailed", True)),
        (None, replace(JOB, failed=True, failed_reason="DeadlineExceeded"), ("False", "DeadlineExceeded", True)),
        (None, replace(JOB, complete=True), ("False", "ResultMissing", True)),
    ],
)
def test_infrastructure_is_no_verdict_on_the_contract(pod: Any, job: JobFacts, expected: tuple[str, str, bool]) -> None:
    assert verdict(plan_verification(facts(pod=pod, job=job))) == expected


def test_what_was_stuck_at_the_deadline_stays_the_reason() -> None:
    stuck = {
        **STARTED,
        "conditions": [
            {
                "type": "Succeeded",
                "status": "Unknown",
                "reason": "ImagePullFailed",
                "message": "no image",
                "lastTransitionTime": "2027-01-15T08:00:00Z",
            }
        ],
    }
    plan = plan_verification(
        facts(verification=run(stuck), job=replace(JOB, failed=True, failed_reason="DeadlineExceeded"))
    )
    assert verdict(plan) == ("False", "ImagePullFailed", True)


def test_results_of_a_run_whose_job_went_unseen_are_taken_from_the_broker() -> None:
    assert wants_results(run(STARTED), None, None)
    plan = plan_verification(facts(job=None, results=results(passed())))
    assert plan.actions == ()
    assert verdict(plan) == ("True", "Passed", True)


def test_a_job_that_went_without_result_runs_again_under_the_same_name() -> None:
    [create] = plan_verification(facts(job=None, results={})).actions
    assert isinstance(create, CreateJob)
    assert create.manifest["metadata"]["name"] == "run"


def test_a_job_that_went_while_the_broker_is_down_waits() -> None:
    plan = plan_verification(facts(job=None, results=Failure(Trouble.UNAVAILABLE, "down")))
    assert plan.actions == ()
    assert plan.requeue_after is not None


def test_a_candidate_is_judged_by_its_own_word_and_asks_the_broker_nothing() -> None:
    candidate = run(STARTED, publishResults=False, pacts=None)
    assert not wants_results(candidate, JOB, ended(0, SAID_PASSED))
    assert verdict(plan_verification(facts(verification=candidate, pod=ended(0, SAID_PASSED)))) == (
        "True",
        "Passed",
        True,
    )
    plan = plan_verification(facts(verification=candidate, pod=ended(1, SAID_BROKEN), job=FAILED))
    assert verdict(plan) == ("False", "ContractBroken", True)
    assert condition(plan.status, "Succeeded")["message"] == "web: body $.email is missing"
    lie = plan_verification(facts(verification=candidate, pod=ended(0, SAID_BROKEN)))
    assert verdict(lie) == ("False", "JobFailed", True)


def test_pending_contracts_may_fail() -> None:
    pending = run(STARTED, pacts=[{**PACTS[0], "pending": True}])
    plan = plan_verification(facts(verification=pending, pod=ended(0, SAID_PASSED), results=results(broken())))
    assert verdict(plan) == ("True", "Passed", True)
    assert plan.status is not None
    assert plan.status["pacts"][0]["outcome"] == "PendingFailed"


def test_a_verdict_is_taken_once() -> None:
    over = run({**STARTED, "completionTime": "2027-01-15T08:00:09Z"})
    assert plan_verification(facts(verification=over, job=None)) == Plan()
    assert not wants_results(over, None, None)


def test_a_run_that_has_not_ended_is_looked_at_again_without_any_hint() -> None:
    # Its Job may have come and gone between two events of the watch.
    assert plan_verification(facts(verification=run(), job=None)).requeue_after is not None
    assert plan_verification(facts()).requeue_after is not None
    assert plan_verification(facts(pod=ended(0, SAID_PASSED), results=results(passed()))).requeue_after is None


def test_a_job_whose_pod_is_refused_says_so_and_waits() -> None:
    refused = replace(JOB, complaint="exceeded quota: pods, used: pods=5, limited: pods=5")
    plan = plan_verification(facts(job=refused))
    assert verdict(plan) == ("Unknown", "JobRejected", False)
    assert "exceeded quota" in condition(plan.status, "Succeeded")["message"]
    late = plan_verification(
        facts(
            verification=run({**STARTED, **dict(plan.status or {})}),
            job=replace(refused, failed=True, failed_reason="DeadlineExceeded"),
        )
    )
    assert verdict(late) == ("False", "JobRejected", True)


def test_a_job_that_a_queue_holds_back_says_so_and_is_not_asked_after_every_few_seconds() -> None:
    plan = plan_verification(facts(job=replace(JOB, suspended=True)))
    assert verdict(plan) == ("Unknown", "Pending", False)
    assert "Kueue" in condition(plan.status, "Succeeded")["message"]
    assert plan.requeue_after == UNFINISHED_SECONDS
    admitted = plan_verification(facts(job=JOB, pod=PodFacts("p", "Pending")))
    assert "Kueue" not in condition(admitted.status, "Succeeded")["message"]


def test_hostile_words_become_one_harmless_line() -> None:
    evil = "\x1b[2Jboom\x00\n" + "x" * 5000
    plan = plan_verification(facts(verification=run(STARTED, publishResults=False), pod=ended(1, evil), job=FAILED))
    told = condition(plan.status, "Succeeded")["message"]
    assert told.isprintable()
    assert len(told) <= 1024


@given(
    st.integers(0, 255),
    st.text(max_size=5000) | st.binary(max_size=300).map(lambda b: b.decode("latin-1")),
    st.booleans(),
)
def test_no_last_word_of_a_verifier_makes_a_published_run_pass_without_the_broker(
    code: int, text: str, failed: bool
) -> None:
    plan = plan_verification(facts(pod=ended(code, text), job=replace(JOB, failed=failed), results={}))
    assert verdict(plan)[0] != "True"


def test_the_job_is_what_kubernetes_should_do_well() -> None:
    [create] = plan_verification(
        facts(
            verification=run(
                providerStates={"path": "/_pact/provider_states"}, messagePath="/m", providerBranch="$(HOME)"
            ),
            job=None,
        )
    ).actions
    assert isinstance(create, CreateJob)
    spec = create.manifest["spec"]
    assert spec["backoffLimit"] == 2
    assert spec["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"] == [1, 2]
    pod = spec["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never"
    [sidecar] = pod["initContainers"]
    assert (sidecar["image"], sidecar["restartPolicy"]) == ("users:1.0.0", "Always")
    [verifier] = pod["containers"]
    env = {entry["name"]: entry.get("value") for entry in verifier["env"]}
    assert env["PV_PROVIDER_VERSION"] == "1.0.0"
    assert env["PV_STATES_PATH"] == "/_pact/provider_states"
    assert env["PV_PROVIDER_BRANCH"] == "$$(HOME)"
    assert verifier["securityContext"]["readOnlyRootFilesystem"] is True


def test_an_empty_security_context_of_a_template_is_as_none_at_all() -> None:
    template = {"spec": {"securityContext": None, "containers": [{"name": "provider", "image": "users:1"}]}}
    target = {"ephemeral": {"template": template, "port": 8080}}
    [create] = plan_verification(facts(verification=run(target=target), job=None)).actions
    assert isinstance(create, CreateJob)
    assert create.manifest["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_credentials_are_referenced_never_copied() -> None:
    secured = broker(auth={"writeSecretRef": {"name": "rw"}}, caSecretRef={"name": "ca"})
    [create] = plan_verification(facts(verification=run(), job=None, broker=secured)).actions
    assert isinstance(create, CreateJob)
    [verifier] = create.manifest["spec"]["template"]["spec"]["containers"]
    refs = {e["name"]: e["valueFrom"]["secretKeyRef"]["key"] for e in verifier["env"] if "valueFrom" in e}
    assert refs == {
        "PACT_BROKER_USERNAME": "username",
        "PACT_BROKER_PASSWORD": "password",
        "PACT_BROKER_TOKEN": "token",
    }
    assert {"name": "PV_CA_FILE", "value": "/etc/pact-broker-ca/ca.crt"} in verifier["env"]
