"""Bad input: each case has a namespace of its own, gets its own reason, and causes no storm of tries.

All cases are made at once, and each test then waits for its own.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

import pytest
from kubernetes.client.exceptions import ApiException

from tests.support.kind import BROKER_SECRETS, Kind, pact, provider_spec, unique

NO_TEST_PASSES = "import sys; print('E   AssertionError: the user has no e-mail address'); sys.exit(1)"
NOTHING = "print('all tests passed')"
NO_JSON = "open('/pacts/a.json', 'w').write('this is no JSON')"
# As the operator's own backoff: the second try comes no sooner.
FIRST_BACKOFF_SECONDS = 30


def another_consumer() -> str:
    return f"open('/pacts/a.json', 'w').write({json.dumps(json.dumps(pact('someone-else', 'anyone')))})"


@pytest.fixture(scope="module")
def cases(kind: Kind) -> Mapping[str, str]:
    """Case to namespace."""
    made = {
        case: kind.namespace(case)
        for case in ("credentials", "unreachable", "image", "unready", "tests", "nothing", "json", "name", "missing")
    }
    for name in BROKER_SECRETS:
        kind.secret(made["credentials"], name, {"username": "readwrite", "password": "wrong"})
    kind.broker_object(made["credentials"])
    kind.broker(made["unreachable"], url=f"http://nowhere.{made['unreachable']}.svc:9292")

    for case in ("image", "unready"):
        callee = unique(case)
        kind.publish(unique("caller"), callee)
        kind.broker(made[case])
        if case == "image":
            kind.provider(made[case], callee, container={"image": "pact-operator/no-such-image:{version}"})
        else:
            sleeper = {"command": ["python", "-c", "import time; time.sleep(3600)"]}
            kind.provider(made[case], callee, container=sleeper, readyTimeoutSeconds=3, infraRetries=0)
    kind.provider(made["missing"], unique("callee"))

    scripts = {"tests": NO_TEST_PASSES, "nothing": NOTHING, "json": NO_JSON, "name": another_consumer()}
    for case, script in scripts.items():
        kind.broker(made[case])
        kind.consumer(made[case], script)
    return made


def test_wrong_credentials(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["credentials"], "PactBroker", "pact-broker", status="False", reason="BrokerUnauthorized")
    assert "user name and password" in ready.message


def test_unreachable_broker(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["unreachable"], "PactBroker", "pact-broker", status="False", reason="BrokerUnavailable")
    assert "nowhere" in ready.message


def test_broker_that_is_not_there(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["missing"], "PactProvider", "provider", status="False", reason="BrokerNotFound")
    assert "'pact-broker'" in ready.message
    assert not kind.jobs(cases["missing"])


def test_provider_image_that_does_not_exist(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["image"], "PactProvider", "provider", status="False", reason="ImagePullFailed")
    assert "no-such-image:1" in ready.message
    assert len(kind.jobs(cases["image"])) == 1


def test_provider_that_never_becomes_ready(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["unready"], "PactProvider", "provider", status="False", reason="ProviderNotReady")
    assert "/healthz" in ready.message or "ready" in ready.message


def test_consumer_tests_that_fail(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["tests"], "PactConsumer", "consumer", status="False", reason="TestsFailed")
    assert "the user has no e-mail address" in ready.message, "the words of the log are missing"


def test_consumer_that_writes_no_pact(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["nothing"], "PactConsumer", "consumer", status="False", reason="NothingWritten")
    assert "/pacts" in ready.message


def test_pact_file_that_is_no_json(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["json"], "PactConsumer", "consumer", status="False", reason="PactInvalid")
    assert "a.json" in ready.message


def test_pact_that_names_another_consumer(kind: Kind, cases: Mapping[str, str]) -> None:
    ready = kind.wait(cases["name"], "PactConsumer", "consumer", status="False", reason="PactNamesAnotherConsumer")
    assert "someone-else" in ready.message
    with kind.broker_client() as client:
        assert client.pacticipant("someone-else") is None, "half of it was published"
        assert client.pacticipant("a-careless-consumer") is None, "half of it was published"


def test_provider_with_both_targets_is_refused_by_the_api_server(kind: Kind, cases: Mapping[str, str]) -> None:
    spec = provider_spec("p", kind.image_of())
    spec["target"]["service"] = {"name": "p"}
    with pytest.raises(ApiException) as refused:
        kind.create(cases["missing"], "PactProvider", "both", spec)
    assert refused.value.status == 422
    assert "exactly one of ephemeral and service must be set" in str(refused.value.body)


def test_nothing_is_tried_in_a_storm(kind: Kind, cases: Mapping[str, str]) -> None:
    for case in ("tests", "nothing", "json", "name"):
        assert len(kind.jobs(cases[case])) == 1, f"{case}: a consumer's mistake is not tried again"
    for case in ("image", "unready"):
        made = [datetime.fromisoformat(job["metadata"]["creationTimestamp"]) for job in kind.jobs(cases[case])]
        gaps = [(after - before).total_seconds() for before, after in pairwise(made)]
        assert all(gap >= FIRST_BACKOFF_SECONDS for gap in gaps), f"{case}: {gaps}"
