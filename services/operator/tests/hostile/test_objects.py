"""Objects at the edge of their schema and past it: no plan fails, and none writes what the API server would refuse."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker, PactConsumer, PactProvider, PactVerification
from pact_operator.core.actions import Action, CreateJob, CreateVerification, Plan
from pact_operator.core.facts import (
    BrokerFacts,
    ConsumerFacts,
    Contract,
    Ended,
    Failure,
    JobFacts,
    PodFacts,
    ProviderFacts,
    Result,
    Settings,
    Trouble,
    VerificationFacts,
    VersionFacts,
    Waiting,
    WorkloadFacts,
)
from pact_operator.core.naming import MAX_LABEL, child_name, digest, label_value
from pact_operator.core.plan import plan_broker, plan_consumer, plan_invalid, plan_provider, plan_verification
from pact_operator.engine.reconciler import MODELS
from services.operator.tests.hostile.hostile import (
    LONG,
    SPECS,
    STATUSES,
    assert_harmless,
    bodies,
    body,
    json_values,
    nasty_text,
)

NOW = 1_800_000_000.0
SETTINGS = Settings("verifier:1", "publisher:1", hook_url="http://operator", hook_token_digest="abc")
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)

failures = st.builds(Failure, st.sampled_from(Trouble), nasty_text)
contracts = st.builds(Contract, st.sampled_from(["web", "", "x" * LONG]), nasty_text, nasty_text, st.booleans())
results = st.builds(Result, nasty_text, nasty_text, st.booleans(), nasty_text, nasty_text)
ends = st.builds(
    Ended,
    st.sampled_from([names.CONTAINER_VERIFIER, names.CONTAINER_PUBLISHER, "provider"]),
    st.sampled_from([0, 1, 2, 75, 137, -1]),
    nasty_text,
    st.one_of(nasty_text, json_values.map(json.dumps)),
)
pods = st.builds(
    PodFacts,
    nasty_text,
    st.sampled_from(["Pending", "Running", "Failed", "Succeeded"]),
    unschedulable=nasty_text,
    waiting=st.lists(
        st.builds(Waiting, nasty_text, st.sampled_from(["ErrImagePull", "CrashLoopBackOff", "x"]), nasty_text),
        max_size=2,
    ).map(tuple),
    ended=st.lists(ends, max_size=2).map(tuple),
)
jobs = st.builds(
    JobFacts,
    nasty_text,
    st.just("uid"),
    st.just("uid"),
    complete=st.booleans(),
    failed=st.booleans(),
    failed_reason=nasty_text,
    failed_message=nasty_text,
    complaint=nasty_text,
)
failed = st.dictionaries(
    st.sampled_from(["CreateJob", "CreateVerification", "PutWebhook", "EnsureEnvironment"]), failures, max_size=2
)
brokers = st.one_of(st.none(), st.just(PactBroker.model_validate(body(names.BROKER))))
workloads = st.one_of(
    st.none(),
    st.builds(WorkloadFacts, nasty_text, st.just({"c": "users:1"}), st.just({"a": "b"})),
    st.builds(
        WorkloadFacts,
        nasty_text,
        st.dictionaries(nasty_text, nasty_text, max_size=2),
        st.dictionaries(nasty_text, nasty_text, max_size=2),
    ),
)


def broker_plan(parsed: PactBroker, data: st.DataObject) -> Plan:
    observed = body(names.BROKER)
    hook = st.one_of(st.none(), st.dictionaries(st.sampled_from(["events", "request", "enabled"]), json_values))
    meta = parsed.metadata.model_copy(
        update={"finalizers": [names.FINALIZER_WEBHOOK]} if data.draw(st.booleans()) else {}
    )
    return plan_broker(
        BrokerFacts(
            parsed.model_copy(update={"metadata": meta}),
            data.draw(st.one_of(st.none(), failures)),
            SETTINGS,
            NOW,
            webhook={**observed["spec"], **(data.draw(hook) or {})},
            failed=data.draw(failed),
        )
    )


def consumer_plan(parsed: PactConsumer, data: st.DataObject) -> Plan:
    facts = ConsumerFacts(
        parsed, data.draw(brokers), data.draw(workloads), {}, {}, SETTINGS, NOW, failed=data.draw(failed)
    )
    first = plan_consumer(facts)
    made = [action.manifest["metadata"]["name"] for action in first.actions if isinstance(action, CreateJob)]
    if not made:
        return first
    assert_harmless(first)
    job = data.draw(jobs)
    known = {
        made[0]: JobFacts(
            made[0], "uid", "uid", complete=job.complete, failed=job.failed, failed_reason=job.failed_reason
        )
    }
    return plan_consumer(
        ConsumerFacts(
            parsed, facts.broker, facts.workload, known, {made[0]: data.draw(pods)}, SETTINGS, NOW, failed=facts.failed
        )
    )


def provider_plan(parsed: PactProvider, data: st.DataObject) -> Plan:
    held = data.draw(st.lists(results, max_size=3))
    versions = st.builds(
        VersionFacts,
        nasty_text,
        st.lists(contracts, max_size=4).map(tuple),
        st.just({(result.consumer, result.content_sha): result for result in held}),
        st.booleans(),
    )
    answers = st.one_of(st.none(), failures, st.lists(versions, max_size=2).map(tuple))
    run = PactVerification.parse(body(names.VERIFICATION))
    runs = (run,) if isinstance(run, PactVerification) and data.draw(st.booleans()) else ()
    return plan_provider(
        ProviderFacts(
            parsed,
            data.draw(brokers),
            data.draw(workloads),
            data.draw(answers),
            runs,
            NOW,
            failed=data.draw(failed),
        )
    )


def verification_plan(parsed: PactVerification, data: st.DataObject) -> Plan:
    held = {(result.consumer, result.content_sha): result for result in data.draw(st.lists(results, max_size=3))}
    for pact in parsed.spec.pacts or ():
        if data.draw(st.booleans()):
            key = (pact.consumer, pact.content_sha)
            held[key] = Result(*key, data.draw(st.booleans()), mismatch=data.draw(nasty_text))
    return plan_verification(
        VerificationFacts(
            parsed,
            data.draw(brokers),
            data.draw(st.one_of(st.none(), jobs)),
            data.draw(st.one_of(st.none(), pods)),
            SETTINGS,
            NOW,
            results=data.draw(st.one_of(st.none(), failures, st.just(held))),
            failed=data.draw(failed),
        )
    )


PLANS: Mapping[str, Callable[[Any, st.DataObject], Plan]] = {
    names.BROKER: broker_plan,
    names.CONSUMER: consumer_plan,
    names.PROVIDER: provider_plan,
    names.VERIFICATION: verification_plan,
}


@pytest.mark.parametrize("kind", list(MODELS))
@SLOW
@given(data=st.data())
def test_every_object_has_a_plan_whatever_is_in_it(kind: str, data: st.DataObject) -> None:
    made = data.draw(bodies(kind))
    parsed = MODELS[kind].parse(made)
    if isinstance(parsed, str):
        assert_harmless(plan_invalid(made, parsed, NOW))
        return
    plan = PLANS[kind](parsed, data)
    assert_harmless(plan)
    for action in plan.actions:
        assert_valid(action)


def assert_valid(action: Action) -> None:
    if isinstance(action, CreateVerification):
        # What the operator makes must pass the schema that it is made for.
        assert isinstance(PactVerification.parse(action.manifest), PactVerification)
    if isinstance(action, (CreateVerification, CreateJob)):
        json.dumps(action.manifest, allow_nan=False, ensure_ascii=False).encode()
        assert len(action.manifest["metadata"]["name"]) <= 63


@pytest.mark.parametrize("kind", list(MODELS))
@SLOW
@given(spec=json_values, status=json_values)
def test_any_json_for_spec_and_status_is_told_as_invalid(kind: str, spec: Any, status: Any) -> None:
    made = body(kind, spec=spec, status=status)
    parsed = MODELS[kind].parse(made)
    assert isinstance(parsed, str), "nothing here is a spec"
    plan = plan_invalid(made, parsed, NOW)
    assert_harmless(plan)
    assert plan.status is not None
    [condition] = plan.status["conditions"]
    assert condition["reason"] == "InvalidSpec"
    again = plan_invalid({**made, "status": plan.status}, parsed, NOW + 9)
    assert (again.status, again.events) == (plan.status, ()), "told once"


def nested(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [90, 900, 20_000])
@pytest.mark.parametrize("kind", [names.CONSUMER, names.PROVIDER])
def test_a_template_that_nests_deeply_is_told_as_invalid_before_anything_recurses(kind: str, levels: int) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}], "affinity": nested(levels)}}
    spec = {**SPECS[kind]}
    spec |= (
        {"template": template}
        if kind == names.CONSUMER
        else {"target": {"ephemeral": {"template": template, "port": 1}}}
    )
    parsed = MODELS[kind].parse(body(kind, spec=spec))
    assert isinstance(parsed, str)
    assert "template" in parsed
    assert "deep" in parsed


@pytest.mark.parametrize(
    "template",
    [
        {"spec": "text"},
        {"spec": []},
        {"spec": {"containers": {"name": "c"}}},
        {"spec": {"containers": ["c"]}},
        {"spec": {"containers": [{"name": "c", "image": 7}]}},
        {"spec": {"initContainers": [None]}},
        {"spec": {"containers": [{"name": "c", "env": {"A": "b"}}]}},
        {"spec": {"containers": [{"name": "c", "volumeMounts": "v"}]}},
        {"spec": {"containers": [{"name": "c", "securityContext": []}]}},
        {"spec": {"volumes": {"v": {}}}},
        {"spec": {"securityContext": True}},
        {"metadata": []},
        {"metadata": {"labels": []}},
        {"metadata": {"annotations": {"a": 1}}},
    ],
)
@pytest.mark.parametrize("kind", [names.CONSUMER, names.PROVIDER, names.VERIFICATION])
def test_a_template_of_another_shape_is_told_as_invalid_with_its_place(kind: str, template: dict[str, Any]) -> None:
    spec = {**SPECS[kind]}
    spec |= (
        {"template": template}
        if kind == names.CONSUMER
        else {"target": {"ephemeral": {"template": template, "port": 1}}}
    )
    parsed = MODELS[kind].parse(body(kind, spec=spec))
    assert isinstance(parsed, str), "the API server admits it: nobody else says so"
    assert "template" in parsed


def test_the_specs_that_are_mutated_are_valid() -> None:
    for kind in MODELS:
        assert not isinstance(MODELS[kind].parse(body(kind)), str)
        assert STATUSES[kind]


@given(st.text(max_size=80).map(lambda text: text * 1000))
@SLOW
def test_names_and_labels_are_such_whatever_they_are_made_of(text: str) -> None:
    name, label = child_name(text, digest(text)), label_value(text)
    assert len(name) <= 52
    assert all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in name)
    assert name[0].isalnum()
    assert name[-1].isalnum()
    assert len(label) <= MAX_LABEL
