"""The indexes that the watches fill: what they keep, what they find, and when they know enough to begin."""

from typing import Any

import pytest

from pact_operator.api import names
from pact_operator.core.facts import Key
from pact_operator.handlers.indexes import IndexSnapshot


@pytest.fixture
def snapshot() -> IndexSnapshot:
    return IndexSnapshot()


def event(uid: str, *, kind: str = names.PROVIDER, name: str = "users", type_: str | None = None, **meta: Any) -> Any:
    """A watch event, as kopf hands it on."""
    metadata = {"name": name, "namespace": "team", "uid": uid, **meta}
    return {"type": type_, "object": {"kind": kind, "metadata": metadata, "spec": {}, "status": {"owed": 0}}}


def test_an_object_is_found_by_its_name_and_by_its_kind_until_it_goes(snapshot: IndexSnapshot) -> None:
    key = Key(names.PROVIDER, "team", "users")
    snapshot.object_told(event("1"))
    assert snapshot.body(key) is not None
    assert [body["metadata"]["uid"] for body in snapshot.bodies(names.PROVIDER, "team")] == ["1"]
    assert not snapshot.bodies(names.PROVIDER, "other")
    snapshot.object_told(event("1", type_="DELETED"))
    assert snapshot.body(key) is None
    assert not snapshot.bodies(names.PROVIDER, "team")


def test_a_later_state_takes_the_place_of_an_earlier_one(snapshot: IndexSnapshot) -> None:
    snapshot.object_told(event("1", resourceVersion="1"))
    snapshot.object_told(event("1", resourceVersion="2", type_="MODIFIED"))
    [body] = snapshot.bodies(names.PROVIDER, "team")
    assert body["metadata"]["resourceVersion"] == "2"


@pytest.mark.parametrize("last_word", ["MODIFIED", "DELETED"])
def test_of_two_objects_of_one_name_the_later_one_counts_whatever_is_told_of_the_other(
    snapshot: IndexSnapshot, last_word: str
) -> None:
    snapshot.object_told(event("old"))
    snapshot.object_told(event("new", type_="ADDED"))
    snapshot.object_told(event("old", type_=last_word))
    found = snapshot.body(Key(names.PROVIDER, "team", "users"))
    assert found is not None
    assert found["metadata"]["uid"] == "new"


def test_a_run_is_found_by_its_provider_wherever_its_label_moves(snapshot: IndexSnapshot) -> None:
    run = {"kind": names.VERIFICATION, "name": "run"}
    snapshot.object_told(event("1", **run, labels={names.LABEL_PROVIDER: "users"}))
    assert len(list(snapshot.verifications("team", "users"))) == 1
    snapshot.object_told(event("1", **run, labels={names.LABEL_PROVIDER: "orders"}, type_="MODIFIED"))
    assert not snapshot.verifications("team", "users")
    assert len(list(snapshot.verifications("team", "orders"))) == 1


def test_jobs_and_pods_are_found_by_role_and_owner_without_their_spec(snapshot: IndexSnapshot) -> None:
    labels = {names.LABEL_ROLE: names.ROLE_VERIFIER, names.LABEL_OWNER: "run"}
    snapshot.job_told(event("1", kind="Job", labels=labels))
    snapshot.pod_told(event("2", kind="Pod", labels=labels))
    [job], [pod] = snapshot.jobs("team", names.ROLE_VERIFIER, "run"), snapshot.pods("team", names.ROLE_VERIFIER, "run")
    assert set(job) == set(pod) == {"metadata", "status"}
    snapshot.job_told(event("1", kind="Job", labels=labels, type_="DELETED"))
    assert not snapshot.jobs("team", names.ROLE_VERIFIER, "run")


def test_a_deployment_is_kept_as_what_a_version_is_read_from(snapshot: IndexSnapshot) -> None:
    told = event("1", kind="Deployment")
    told["object"]["spec"] = {"template": {"spec": {"containers": [{"name": "app", "image": "app:7"}]}}}
    snapshot.deployment_told(told)
    found = snapshot.workload("team", "users")
    assert found is not None
    assert found.containers == {"app": "app:7"}
    assert snapshot.workload("team", "others") is None


def test_nothing_is_kept_that_only_takes_memory(snapshot: IndexSnapshot) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
    snapshot.object_told(event("1", managedFields=[{"manager": "kubectl"}], annotations=applied))
    [body] = snapshot.bodies(names.PROVIDER, "team")
    assert "managedFields" not in body["metadata"]
    assert body["metadata"]["annotations"] == {"mine": "1"}


def test_it_has_seen_a_list_once_every_object_of_it_was_told_of(snapshot: IndexSnapshot) -> None:
    listed = {"1", "2", "3"}
    snapshot.object_told(event("1"))
    snapshot.pod_told(event("2", kind="Pod"))
    assert not snapshot.has_seen(listed)
    # Gone since it was listed: that has been told, too.
    snapshot.job_told(event("3", kind="Job", type_="DELETED"))
    assert snapshot.has_seen(listed)


def test_an_object_that_cannot_be_read_keeps_nobody_from_beginning(snapshot: IndexSnapshot) -> None:
    told = event("1", kind="Deployment")
    told["object"]["spec"] = {"template": {"spec": {"containers": [{"image": "without a name"}]}}}
    with pytest.raises(KeyError):
        snapshot.deployment_told(told)
    assert snapshot.has_seen({"1"})


def test_a_cluster_without_anything_has_been_seen_at_once(snapshot: IndexSnapshot) -> None:
    assert snapshot.has_seen(set())
