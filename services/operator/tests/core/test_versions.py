import pytest

from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import VersionSource, WorkloadRef
from pact_operator.core.facts import WorkloadFacts
from pact_operator.core.versions import Unresolved, image_tag, resolve


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("users:1.2.3", "1.2.3"),
        ("registry:5000/team/users:1.2.3", "1.2.3"),
        ("registry:5000/team/users", None),
        ("users", None),
        ("users@sha256:0123", None),
        ("team/users:1.2.3@sha256:0123", "1.2.3"),
        ("users:", None),
    ],
)
def test_the_tag_of_an_image_is_the_version(image: str, tag: str | None) -> None:
    assert image_tag(image) == tag


WORKLOAD = WorkloadFacts("users", {"app": "users:1.2.3", "proxy": "proxy:9"}, {"release": "blue"})


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (WorkloadRef(name="users"), "1.2.3"),
        (WorkloadRef(name="users", container="proxy"), "9"),
        (WorkloadRef(name="users", label="release"), "blue"),
        (WorkloadRef(name="users", container="nginx"), Reason.VERSION_UNKNOWN),
        (WorkloadRef(name="users", label="version"), Reason.VERSION_UNKNOWN),
    ],
)
def test_a_version_is_read_from_what_runs(ref: WorkloadRef, expected: str | Reason) -> None:
    told = resolve(VersionSource(from_workload=ref), WORKLOAD)
    assert (told.reason if isinstance(told, Unresolved) else told) == expected


def test_a_workload_that_is_missing_is_named() -> None:
    told = resolve(VersionSource(from_workload=WorkloadRef(name="users")), None)
    assert isinstance(told, Unresolved)
    assert told.reason is Reason.WORKLOAD_NOT_FOUND
    assert "'users'" in told.message


def test_a_fixed_version_needs_no_workload() -> None:
    assert resolve(VersionSource(value="7"), None) == "7"
