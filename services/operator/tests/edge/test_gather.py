from dataclasses import replace
from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker, PactConsumer, PactProvider, PactVerification
from pact_operator.core.facts import (
    Contract,
    Deployed,
    DeploymentFacts,
    Failure,
    Key,
    Result,
    Settings,
    Sharer,
    Trouble,
    WorkloadFacts,
)
from pact_operator.core.rollout import Rollout
from pact_operator.core.times import parse
from pact_operator.engine.gather import Gatherer, job_facts, pod_facts, workload_facts
from pact_operator.engine.recent import Recent
from pact_operator.engine.reconciler import Reconciler
from pact_operator.ports import BrokerFailureError

NS = "team"
DOWN = Failure(Trouble.UNAVAILABLE, "The broker is down.")


@pytest.fixture
def gather(world: Any, clock: Any, settings: Settings, reconciler: Reconciler) -> Gatherer:
    return Gatherer(world, world, clock, settings, Recent(clock), world, reconciler.gate)


def parsed(world: Any, key: Key, model: Any) -> Any:
    found = model.parse(world.objects[key])
    assert isinstance(found, model), found
    return found


def put_broker(world: Any, **spec: Any) -> Key:
    key: Key = world.put(names.BROKER, "broker", {"url": "http://broker", **spec})
    return key


def put_provider(world: Any, **spec: Any) -> Key:
    key: Key = world.put(
        names.PROVIDER,
        "users",
        {
            "brokerRef": {"name": "broker"},
            "pacticipant": "users-provider",
            "version": {"value": "1.2.3"},
            "target": {"service": {"name": "users"}},
            **spec,
        },
    )
    return key


def put_verification(world: Any, name: str = "run", **meta: Any) -> Key:
    key: Key = world.put(
        names.VERIFICATION,
        name,
        {
            "brokerRef": {"name": "broker"},
            "pacticipant": "users-provider",
            "providerVersion": "1.2.3",
            "target": {"service": {"name": "users"}},
            "publishResults": True,
        },
        **meta,
    )
    return key


def job(
    name: str, owner: str, *, created: str = "2026-01-01T00:00:00Z", uid: str = "", **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": NS,
            "uid": f"uid-{name}",
            "creationTimestamp": created,
            "labels": {names.LABEL_ROLE: names.ROLE_VERIFIER, names.LABEL_OWNER: owner},
            "ownerReferences": [{"uid": uid or f"uid-{owner}", "controller": True}],
        },
        "status": status,
    }


def pod(name: str, owner: str, of: str, *, created: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    return {**job(name, owner, created=created, uid=f"uid-{of}"), "status": status}


def ended(name: str, code: int, message: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "state": {
            "terminated": {
                "exitCode": code,
                "reason": "Completed" if code == 0 else "Error",
                "message": message,
                "finishedAt": "2026-01-01T00:00:05Z",
            }
        },
    }


async def test_a_job_without_a_pod_is_asked_after_once_it_should_have_one(
    world: Any, gather: Gatherer, clock: Any
) -> None:
    put_broker(world)
    key = put_verification(world)
    world.complaints["run"] = "exceeded quota: pods"
    created = "2026-01-01T00:00:00Z"
    world.job_bodies.append(job("run", "run", created=created))
    run = parsed(world, key, PactVerification)
    clock.time = parse(created) + 1
    assert (await gather.verification(run)).job.complaint == ""  # type: ignore[union-attr]
    clock.time = parse(created) + 60
    assert (await gather.verification(run)).job.complaint == "exceeded quota: pods"  # type: ignore[union-attr]
    held_back = [{"type": "Suspended", "status": "True"}]
    world.job_bodies[:] = [job("run", "run", created=created, conditions=held_back)]
    asked = len(world.called("complaint"))
    facts = (await gather.verification(run)).job
    assert facts is not None
    assert (facts.suspended, facts.complaint) == (True, ""), "it should have no Pod"
    assert len(world.called("complaint")) == asked
    world.job_bodies[:] = [job("run", "run", created=created)]
    world.pod_bodies.append(pod("run-x", "run", "run"))
    assert (await gather.verification(run)).job.complaint == ""  # type: ignore[union-attr]


def test_a_job_is_complete_by_its_condition_and_by_nothing_else() -> None:
    counters = job_facts(job("j", "run", succeeded=1, active=0, completionTime="2026-01-01T00:00:00Z"))
    assert not counters.complete
    early = job_facts(job("j", "run", conditions=[{"type": "SuccessCriteriaMet", "status": "True"}]))
    assert not early.complete
    over = job_facts(job("j", "run", conditions=[{"type": "Complete", "status": "True"}]))
    assert over.complete
    assert not over.failed


def test_a_job_that_is_about_to_fail_has_not_failed_yet() -> None:
    target = {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}
    assert not job_facts(job("j", "run", conditions=[target])).failed
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too slow"}
    facts = job_facts(job("j", "run", conditions=[target, failed]))
    assert (facts.failed, facts.failed_reason, facts.failed_message) == (True, "DeadlineExceeded", "too slow")
    assert facts.owner_uid == "uid-run"


def test_a_condition_that_does_not_hold_is_none() -> None:
    assert not job_facts(job("j", "run", conditions=[{"type": "Complete", "status": "False"}])).complete


def test_a_pod_is_read_from_init_and_main_containers() -> None:
    facts = pod_facts(
        pod(
            "p",
            "run",
            "j",
            phase="Running",
            initContainerStatuses=[
                {"name": "provider", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
                {"name": "broken", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
            ],
            containerStatuses=[ended("verifier", 1, '{"x":1}')],
        )
    )
    assert facts.running == ("provider",)
    assert [(w.container, w.reason, w.message) for w in facts.waiting] == [
        ("broken", "ImagePullBackOff", "no such image")
    ]
    end = facts.end_of("verifier")
    assert end is not None
    assert (end.exit_code, end.message, end.finished_at) == (1, '{"x":1}', 1767225605.0)
    assert facts.end_of("provider") is None


def test_a_pod_without_a_node_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    assert pod_facts(pod("p", "run", "j", phase="Pending", conditions=[condition])).unschedulable == "0/1 nodes"
    condition = {"type": "PodScheduled", "status": "True"}
    assert pod_facts(pod("p", "run", "j", phase="Pending", conditions=[condition])).unschedulable == ""


def test_a_pod_that_the_kubelet_has_not_seen_is_pending() -> None:
    assert pod_facts(pod("p", "run", "j")).phase == "Pending"


def test_a_workload_keeps_the_order_of_its_containers() -> None:
    template = {
        "metadata": {"labels": {"version": "7"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}, {"name": "aux", "image": "aux:2"}]},
    }
    facts = workload_facts({"metadata": {"name": "d"}, "spec": {"template": template}})
    assert list(facts.containers.items()) == [("web", "web:1"), ("aux", "aux:2")]
    assert facts.labels == {"version": "7"}


async def test_a_reachable_broker_is_asked_for_what_its_spec_uses(world: Any, gather: Gatherer) -> None:
    key = put_broker(world, webhook={"enabled": True}, environment={"name": "test"})
    facts = await gather.broker(parsed(world, key, PactBroker))
    assert facts.check is None
    assert facts.environments == {"test"}
    assert [call[0] for call in world.calls] == ["check", "webhook", "environments"]


async def test_a_plain_broker_costs_one_question(world: Any, gather: Gatherer) -> None:
    await gather.broker(parsed(world, put_broker(world), PactBroker))
    assert [call[0] for call in world.calls] == ["check"]


async def test_a_broker_that_does_not_answer_is_asked_once(world: Any, gather: Gatherer) -> None:
    world.errors["check"] = BrokerFailureError(DOWN)
    key = put_broker(world, webhook={"enabled": True}, environment={"name": "test"})
    facts = await gather.broker(parsed(world, key, PactBroker))
    assert facts.check == DOWN
    assert [call[0] for call in world.calls] == ["check"]


async def test_a_suspended_broker_is_left_alone_but_a_leaving_one_with_a_webhook_is_not(
    world: Any, gather: Gatherer
) -> None:
    key = put_broker(world, suspend=True)
    await gather.broker(parsed(world, key, PactBroker))
    assert world.calls == []
    world.objects[key]["metadata"] |= {
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": [names.FINALIZER_WEBHOOK],
    }
    await gather.broker(parsed(world, key, PactBroker))
    assert [call[0] for call in world.calls] == ["check", "webhook"]


async def test_a_provider_gets_what_the_broker_says_of_its_version(world: Any, gather: Gatherer) -> None:
    put_broker(world)
    key = put_provider(world, branch="main", enablePending=True, includeWipPactsSince="2026-01-01")
    world.contracts_in_scope = (Contract("web", "sha", "http://broker/pact"),)
    world.held = {("web", "sha"): Result("web", "sha", True)}
    facts = await gather.provider(parsed(world, key, PactProvider))
    assert isinstance(facts.versions, tuple)
    [version] = facts.versions
    assert (version.version, version.contracts, version.results) == ("1.2.3", world.contracts_in_scope, world.held)
    assert world.called("contracts") == [("contracts", "users-provider", "main", True, "2026-01-01")]


async def test_runs_are_taken_down_before_the_broker_is_asked(world: Any, gather: Gatherer) -> None:
    """A run that is confirmed while the broker answers must not look confirmed with an answer from before."""
    put_broker(world)
    key = put_provider(world)
    world.contracts_in_scope = (Contract("web", "sha", "http://broker/pact"),)
    real = world.contracts

    async def meanwhile(*arguments: Any, **options: Any) -> Any:
        put_verification(
            world,
            labels={names.LABEL_PROVIDER: "users"},
            ownerReferences=[{"uid": "uid-users", "controller": True}],
        )
        return await real(*arguments, **options)

    world.contracts = meanwhile
    assert (await gather.provider(parsed(world, key, PactProvider))).verifications == ()
    assert len((await gather.provider(parsed(world, key, PactProvider))).verifications) == 1


async def test_runs_of_an_older_object_of_the_same_name_are_not_its_runs(world: Any, gather: Gatherer) -> None:
    key = put_provider(world)
    put_verification(
        world, labels={names.LABEL_PROVIDER: "users"}, ownerReferences=[{"uid": "uid-before", "controller": True}]
    )
    assert (await gather.provider(parsed(world, key, PactProvider))).verifications == ()


@pytest.mark.parametrize(
    ("broker", "provider"),
    [
        (None, {}),
        ({"suspend": True}, {}),
        ({}, {"suspend": True}),
        ({}, {"version": {"fromWorkload": {"name": "absent"}}}),
    ],
)
async def test_the_broker_is_not_asked_where_no_decision_depends_on_it(
    world: Any, gather: Gatherer, broker: dict[str, Any] | None, provider: dict[str, Any]
) -> None:
    if broker is not None:
        put_broker(world, **broker)
    facts = await gather.provider(parsed(world, put_provider(world, **provider), PactProvider))
    assert facts.versions is None
    assert world.calls == []


async def test_a_version_is_read_from_a_workload(world: Any, gather: Gatherer) -> None:
    put_broker(world)
    world.workloads[NS, "users"] = WorkloadFacts("users", {"web": "users:7"}, {})
    world.contracts_in_scope = (Contract("web", "sha", "u"),)
    key = put_provider(world, version={"fromWorkload": {"name": "users"}})
    await gather.provider(parsed(world, key, PactProvider))
    assert world.called("results") == [("results", "users-provider", "7")]


def put_records(world: Any, mode: str = "Record") -> Key:
    return put_broker(world, environment={"name": "test"}, recording={"mode": mode})


RUNS_2 = WorkloadFacts("web", {"app": "users:2"}, {}, Rollout.COMPLETE)


async def test_what_is_deployed_is_asked_and_the_version_only_where_it_differs(world: Any, gather: Gatherer) -> None:
    put_records(world)
    key = put_provider(world, version={"fromWorkload": {"name": "web"}})
    world.workloads[NS, "web"] = RUNS_2
    world.deployments["users-provider"] = (Deployed("id", "2"),)
    facts = await gather.provider(parsed(world, key, PactProvider))
    assert facts.deployment == DeploymentFacts((Deployed("id", "2"),))
    assert world.called("has_version") == []
    world.deployments["users-provider"] = (Deployed("id", "1"), Deployed("id", "2", "blue"))
    world.versions.add(("users-provider", "2"))
    facts = await gather.provider(parsed(world, key, PactProvider))
    assert facts.deployment is not None
    assert facts.deployment.known is True
    world.workloads[NS, "web"] = replace(RUNS_2, rollout=Rollout.PROGRESSING)
    facts = await gather.provider(parsed(world, key, PactProvider))
    assert facts.deployment is not None
    assert facts.deployment.known is None


@pytest.mark.parametrize(
    ("mode", "version", "more"),
    [
        ("Off", {"fromWorkload": {"name": "web"}}, {}),
        ("Record", {"value": "2"}, {}),
        ("Record", {"fromWorkload": {"name": "web"}}, {"suspend": True}),
    ],
)
async def test_what_is_deployed_is_not_asked_where_nothing_is_compared(
    world: Any, gather: Gatherer, mode: str, version: dict[str, Any], more: dict[str, Any]
) -> None:
    put_records(world, mode)
    key = put_provider(world, version=version, **more)
    world.workloads[NS, "web"] = RUNS_2
    assert (await gather.provider(parsed(world, key, PactProvider))).deployment is None
    assert world.called("deployed") == []


async def test_what_is_deployed_may_have_no_answer(world: Any, gather: Gatherer) -> None:
    put_records(world)
    key = put_provider(world, version={"fromWorkload": {"name": "web"}})
    world.workloads[NS, "web"] = RUNS_2
    world.errors["has_version"] = BrokerFailureError(DOWN)
    facts = await gather.provider(parsed(world, key, PactProvider))
    assert facts.deployment == DeploymentFacts((), DOWN)
    world.errors["deployed"] = BrokerFailureError(DOWN)
    facts = await gather.provider(parsed(world, key, PactProvider))
    assert facts.deployment == DeploymentFacts(DOWN)


async def test_others_of_the_pacticipant_are_known_where_they_could_record(world: Any, gather: Gatherer) -> None:
    put_records(world)
    source = {"fromWorkload": {"name": "web"}}
    key = put_provider(world, version=source)
    world.workloads[NS, "web"] = RUNS_2
    common = {"brokerRef": {"name": "broker"}, "pacticipant": "users-provider"}
    template = {"spec": {"containers": [{"name": "tests", "image": "tests"}]}}
    alike = {**common, "version": source, "template": template}
    web = world.put(names.CONSUMER, "web", alike)
    world.put(names.CONSUMER, "green", {**alike, "applicationInstance": "green"})
    others: dict[str, dict[str, Any]] = {
        "fixed": {"version": {"value": "2"}},
        "asleep": {"suspend": True},
        "elsewhere": {"brokerRef": {"name": "another"}},
        "stranger": {"pacticipant": "stranger"},
        "unreadable": {"version": {}},
    }
    for name, other in others.items():
        world.put(names.CONSUMER, name, {**alike, **other})
    world.put(names.CONSUMER, "leaving", alike, deletionTimestamp="2026-01-01T00:00:00Z")
    facts = await gather.provider(parsed(world, key, PactProvider))
    assert facts.deployment is not None
    assert facts.deployment.sharers == (Sharer(web, "web", "2"),)
    assert facts.deployment.claimed == {None, "green"}
    consumer = await gather.consumer(parsed(world, web, PactConsumer))
    assert consumer.deployment is not None
    assert [other.key for other in consumer.deployment.sharers] == [key]


async def test_a_failure_of_the_broker_is_a_fact_about_the_provider(world: Any, gather: Gatherer) -> None:
    put_broker(world)
    world.errors["contracts"] = BrokerFailureError(DOWN)
    assert (await gather.provider(parsed(world, put_provider(world), PactProvider))).versions == DOWN


async def test_a_verification_sees_its_own_job_and_that_jobs_newest_pod(world: Any, gather: Gatherer) -> None:
    key = put_verification(world)
    world.job_bodies = [job("of-another", "run", uid="uid-gone"), job("mine", "run")]
    world.pod_bodies = [
        pod("second", "run", "mine", created="2026-01-01T00:00:09Z", phase="Running"),
        pod("first", "run", "mine", created="2026-01-01T00:00:01Z", phase="Failed"),
        pod("stray", "run", "of-another", created="2026-01-01T00:00:30Z"),
    ]
    facts = await gather.verification(parsed(world, key, PactVerification))
    assert facts.job is not None
    assert facts.job.name == "mine"
    assert facts.pod is not None
    assert facts.pod.name == "second"


async def test_results_are_read_back_only_once_the_verifier_has_ended(world: Any, gather: Gatherer) -> None:
    put_broker(world)
    key = put_verification(world)
    world.job_bodies = [job("mine", "run")]
    world.pod_bodies = [pod("p", "run", "mine", phase="Running")]
    assert (await gather.verification(parsed(world, key, PactVerification))).results is None
    world.pod_bodies = [pod("p", "run", "mine", containerStatuses=[ended("verifier", 0)])]
    world.held = {("web", "sha"): Result("web", "sha", True)}
    assert (await gather.verification(parsed(world, key, PactVerification))).results == world.held
    world.errors["results"] = BrokerFailureError(DOWN)
    assert (await gather.verification(parsed(world, key, PactVerification))).results == DOWN


async def test_a_consumer_knows_the_providers_at_its_broker(world: Any, gather: Gatherer) -> None:
    key = world.put(
        names.CONSUMER,
        "web",
        {
            "brokerRef": {"name": "broker"},
            "pacticipant": "web",
            "version": {"value": "1"},
            "template": {"spec": {"containers": []}},
        },
    )
    mine = put_provider(world)
    world.put(names.PROVIDER, "other", {"brokerRef": {"name": "elsewhere"}, "pacticipant": "other"})
    facts = await gather.consumer(parsed(world, key, PactConsumer))
    assert facts.providers == (("users-provider", mine),)
