"""Published: a consumer's pact tests run once per version, and their pacts reach the broker."""

import json
from dataclasses import replace
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactConsumer
from pact_operator.core.actions import CreateJob, Look, Plan
from pact_operator.core.facts import ConsumerFacts, Ended, Failure, JobFacts, Key, PodFacts, Trouble, Waiting
from pact_operator.core.plan import plan_consumer
from pact_operator.core.times import backoff
from services.operator.tests.core.worlds import NOW, SETTINGS, broker, condition, consumer

FLASK = Key(names.PROVIDER, "team", "flask")


def facts(**more: Any) -> ConsumerFacts:
    given: dict[str, Any] = {
        "consumer": consumer(),
        "broker": broker(),
        "workload": None,
        "jobs": {},
        "pods": {},
        "settings": SETTINGS,
        "now": NOW,
        "providers": (("flask", FLASK), ("other", Key(names.PROVIDER, "team", "other"))),
    }
    return ConsumerFacts(**{**given, **more})


def said(outcome: str, reason: str, text: str = "", *pacts: dict[str, Any]) -> str:
    return json.dumps(
        {"schema": names.PUBLISHER_SCHEMA, "outcome": outcome, "reason": reason, "message": text, "pacts": pacts}
    )


def with_status(status: Any, **spec: Any) -> PactConsumer:
    given = consumer(**spec)
    return PactConsumer.model_validate(
        {
            "metadata": given.metadata.model_dump(by_alias=True),
            "spec": given.spec.model_dump(by_alias=True, exclude_none=True),
            "status": status,
        }
    )


def started() -> tuple[PactConsumer, JobFacts]:
    plan = plan_consumer(facts())
    [create] = plan.actions
    assert isinstance(create, CreateJob)
    return with_status(plan.status), JobFacts(create.manifest["metadata"]["name"], "uid-job", "uid-web")


def look(pod: PodFacts | None, **job: Any) -> Plan:
    web, made = started()
    made = replace(made, **job)
    return plan_consumer(facts(consumer=web, jobs={made.name: made}, pods={made.name: pod} if pod else {}))


def ended(code: int, text: str, container: str = names.CONTAINER_PUBLISHER, phase: str = "Failed") -> PodFacts:
    return PodFacts("web-x", phase, ended=(Ended(container, code, "", text, NOW),))


def test_a_new_version_runs_its_tests_without_credentials_and_then_the_publisher() -> None:
    [create] = plan_consumer(facts(broker=broker(auth={"writeSecretRef": {"name": "rw"}}))).actions
    assert isinstance(create, CreateJob)
    pod = create.manifest["spec"]["template"]["spec"]
    [tests], [publisher] = pod["initContainers"], pod["containers"]
    assert tests["image"] == "web-tests:2.0.0"
    assert "restartPolicy" not in tests
    assert not [e for e in tests["env"] if "valueFrom" in e or e["name"].startswith("PACT_BROKER")]
    assert {m["mountPath"] for m in tests["volumeMounts"]} == {"/pacts"}
    assert publisher["name"] == "publisher"
    assert [e["name"] for e in publisher["env"] if "valueFrom" in e] == [
        "PACT_BROKER_USERNAME",
        "PACT_BROKER_PASSWORD",
        "PACT_BROKER_TOKEN",
    ]


def test_each_version_and_each_template_is_work_of_its_own() -> None:
    named = set()
    spec: dict[str, Any]
    for spec in ({}, {"version": {"value": "2.0.1"}}, {"branch": "main"}, {"template": {"spec": {"containers": []}}}):
        [create] = plan_consumer(facts(consumer=consumer(**spec))).actions
        assert isinstance(create, CreateJob)
        named.add(create.manifest["metadata"]["name"])
    assert len(named) == 4


def test_a_second_look_creates_no_second_job() -> None:
    plan = look(None)
    assert plan.actions == ()
    assert condition(plan.status, "Ready")["reason"] == "TestsRunning"


def test_published_pacts_have_their_providers_looked_at_at_once() -> None:
    pact = {"provider": "flask", "interactions": 4, "url": "http://broker/p"}
    plan = look(ended(0, said("Published", "Published", "", pact), phase="Succeeded"))
    assert plan.actions == (Look(FLASK),)
    ready = condition(plan.status, "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Published")
    assert ready["message"] == "2.0.0 is published with pacts for flask."
    again = plan_consumer(facts(consumer=with_status(plan.status)))
    assert again.actions == ()
    assert again.events == ()


@pytest.mark.parametrize(
    ("pod", "job", "status", "reason", "words"),
    [
        (ended(1, "FAILED test_users.py | 1 failed", "tests"), {"failed": True}, "False", "TestsFailed", "1 failed"),
        (ended(2, said("NothingWritten", "NothingWritten")), {"failed": True}, "False", "NothingWritten", "/pacts"),
        (
            ended(1, said("Rejected", "PactInvalid", "x.json is not JSON.")),
            {"failed": True},
            "False",
            "PactInvalid",
            "x.json",
        ),
        (
            ended(1, said("Rejected", "PactNamesAnotherConsumer", "says app")),
            {},
            "False",
            "PactNamesAnotherConsumer",
            "app",
        ),
        (ended(1, "garbage"), {}, "False", "PublishRejected", "garbage"),
        (
            ended(75, said("InfrastructureError", "BrokerUnavailable", "No answer.")),
            {},
            "Unknown",
            "Retrying",
            "No answer.",
        ),
        (
            ended(75, said("InfrastructureError", "BrokerUnavailable")),
            {"failed": True},
            "False",
            "BrokerUnavailable",
            "",
        ),
        (None, {"failed": True, "failed_reason": "DeadlineExceeded"}, "False", "DeadlineExceeded", "600 seconds"),
        (
            PodFacts("p", "Pending", waiting=(Waiting("tests", "ErrImagePull", "nope"),)),
            {},
            "False",
            "ImagePullFailed",
            "nope",
        ),
        (None, {"complete": True}, "True", "Published", ""),
    ],
)
def test_each_end_has_its_reason(
    pod: PodFacts | None, job: dict[str, Any], status: str, reason: str, words: str
) -> None:
    told = condition(look(pod, **job).status, "Ready")
    assert (told["status"], told["reason"]) == (status, reason)
    assert words in told["message"]


def settled(plan: Plan, now: float) -> Plan:
    return plan_consumer(facts(consumer=with_status(plan.status), now=now))


def test_failed_tests_are_not_run_again_for_the_same_version() -> None:
    failed = look(ended(1, "1 failed", "tests"), failed=True)
    assert settled(failed, NOW + 1_000_000).actions == ()
    other = plan_consumer(facts(consumer=with_status(failed.status, version={"value": "2.0.1"})))
    assert [type(action) for action in other.actions] == [CreateJob]


def test_an_outage_is_tried_again_under_another_name_after_a_while() -> None:
    spoilt = look(ended(75, said("InfrastructureError", "BrokerUnavailable")), failed=True)
    assert settled(spoilt, NOW + 1).actions == ()
    assert settled(spoilt, NOW + 1).requeue_after == pytest.approx(backoff(0) - 1)
    [create] = settled(spoilt, NOW + backoff(0)).actions
    assert isinstance(create, CreateJob)
    assert create.manifest["metadata"]["name"].endswith("-1")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"broker": None}, "BrokerNotFound"),
        ({"broker": broker(suspend=True)}, "Suspended"),
        ({"consumer": consumer(suspend=True)}, "Suspended"),
        ({"consumer": consumer(version={"fromWorkload": {"name": "web"}})}, "WorkloadNotFound"),
        ({"failed": {"CreateJob": Failure(Trouble.REFUSED, "quota")}}, "JobRejected"),
    ],
)
def test_what_keeps_a_run_from_starting_is_said(more: dict[str, Any], reason: str) -> None:
    assert condition(plan_consumer(facts(**more)).status, "Ready")["reason"] == reason
