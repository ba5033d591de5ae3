"""What the admission webhook asks the gate, and what it answers the API server."""

from typing import Any

import pytest

from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import GateSpec, PactConsumer, PactProvider
from pact_operator.core.admission import Ask, Inquiry, Response, Review, inquire, respond, review_of
from pact_operator.core.facts import GateFacts, GateRow, Matrix, Obstacle, Question, WorkloadFacts
from pact_operator.core.gate import Decision, decide
from pact_operator.engine.gather import workload_facts
from services.operator.tests.core.worlds import NOW, consumer, provider

FROM_WEB: dict[str, Any] = {"version": {"fromWorkload": {"name": "web"}}}
QUESTION = Question("users", "2", "production")


def web(image: str, **labels: str) -> WorkloadFacts:
    return WorkloadFacts("web", {"app": image}, labels)


def review(new: WorkloadFacts, old: WorkloadFacts | None = None) -> Review:
    return Review("u", "team", "web", new, old, dry_run=False)


def decision(success: bool | None, **policy: Any) -> Decision:
    row = GateRow("web", "7", "users", "2" if success is not None else None, success, "a1", "http://b/1")
    deployable = {True: True, False: False, None: None}[success]
    return decide(GateFacts(QUESTION, Matrix(deployable, rows=(row,)), GateSpec.model_validate(policy), NOW))


# --- what is asked


def test_a_new_version_is_asked_about_for_each_object_that_reads_it() -> None:
    other: dict[str, Any] = {"version": {"fromWorkload": {"name": "web", "label": "release"}}}
    found = inquire(
        review(web("users:2", release="r2"), web("users:1", release="r1")), [provider(**FROM_WEB), consumer(**other)]
    )
    assert found == Inquiry(
        (Ask("PactConsumer web", "broker", "web", "r2"), Ask("PactProvider users", "broker", "users", "2"))
    )


@pytest.mark.parametrize("image", ["users:1", "registry.example.com/users:1", "users:1@sha256:00"])
def test_the_same_version_is_not_asked_about(image: str) -> None:
    assert inquire(review(web(image), web("users:1")), [provider(**FROM_WEB)]) == Inquiry()


def test_what_is_made_is_asked_about() -> None:
    assert len(inquire(review(web("users:1")), [provider(**FROM_WEB)]).asks) == 1


def test_a_version_that_could_not_be_read_before_is_a_new_one() -> None:
    assert len(inquire(review(web("users:1"), web("users")), [provider(**FROM_WEB)]).asks) == 1


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ([], "no PactProvider or PactConsumer reads its version from Deployment web"),
        ([provider()], "no PactProvider or PactConsumer reads its version from Deployment web"),
        ([provider(version={"fromWorkload": {"name": "api"}})], "no PactProvider or PactConsumer"),
        (
            [provider(version={"fromWorkload": {"name": "web", "label": "release"}})],
            "PactProvider users: The Pod template",
        ),
    ],
)
def test_what_is_not_ours_to_judge_passes_with_a_warning(objects: list[PactProvider | PactConsumer], says: str) -> None:
    found = inquire(review(web("users:2"), web("users:1")), objects)
    assert found.asks == ()
    [warning] = found.warnings
    assert says in warning
    assert respond(found, []) == Response(True, warnings=(warning,))


# --- what is answered


def test_a_yes_is_a_bare_yes() -> None:
    assert respond(Inquiry(), [decision(True)]).as_review("u") == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "u", "allowed": True, "auditAnnotations": {"verdict": "Allowed"}},
    }


def test_a_no_says_why_and_what_to_do() -> None:
    said = respond(Inquiry(), [decision(True), decision(False)]).as_review("u")["response"]
    assert said["allowed"] is False
    assert said["status"]["code"] == 403
    assert said["status"]["message"].startswith("users 2 may not go to production (Broken): web 7 in production: ")
    assert "What to do: Read the mismatch: serve what the consumer expects" in said["status"]["message"]
    assert "Try again" not in said["status"]["message"], "waiting does not mend it"


def test_a_no_that_waiting_mends_says_so() -> None:
    said = respond(Inquiry(), [decision(None)])
    assert not said.allowed
    assert said.message.endswith("Try again in a while.")


def test_shadow_mode_lets_pass_with_a_warning() -> None:
    said = respond(Inquiry(), [decision(False, mode="Shadow")])
    assert said.allowed
    [warning] = said.warnings
    assert warning.startswith("The gate lets users 2 pass (Broken): Let pass in Shadow mode, else refused: ")


def test_a_pass_by_rule_is_told_too() -> None:
    silent = GateFacts(
        QUESTION,
        Obstacle(Reason.BROKER_UNAVAILABLE, "The broker is away."),
        GateSpec.model_validate({"whenCannotTell": "Allow"}),
        NOW,
    )
    said = respond(Inquiry(), [decide(silent)])
    assert said.allowed
    assert "(CannotTell): The broker is away. It may go, as spec.gate.whenCannotTell" in said.warnings[0]


def test_a_no_names_no_environment_that_it_does_not_know() -> None:
    facts = GateFacts(
        Question("users", "2", ""), Obstacle(Reason.BROKER_NOT_FOUND, "There is no PactBroker."), GateSpec(), NOW
    )
    assert respond(Inquiry(), [decide(facts)]).message.startswith(
        "users 2 may not be rolled out (CannotTell): There is"
    )


def test_texts_are_bounded_and_fit_for_a_header() -> None:
    said = Response(False, "x\n" * 5000, ("warning\x00\n" + "y" * 5000,)).as_review("u")["response"]
    assert len(said["status"]["message"]) <= 1500
    [warning] = said["warnings"]
    assert len(warning) <= 256
    assert warning.isprintable()


# --- what the API server sends


def deployment(image: str = "users:2", **meta: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "team", **meta},
        "spec": {"template": template},
    }


def request(**changes: Any) -> dict[str, Any]:
    given = {"uid": "u", "operation": "UPDATE", "namespace": "team", "name": "web", "dryRun": True}
    return {
        "kind": "AdmissionReview",
        "request": {**given, "object": deployment(), "oldObject": deployment("users:1"), **changes},
    }


def test_a_review_is_read() -> None:
    assert review_of(request(), workload_facts) == Review(
        "u", "team", "web", workload_facts(deployment()), workload_facts(deployment("users:1")), dry_run=True
    )
    made = review_of(request(operation="CREATE", oldObject=None, dryRun=None), workload_facts)
    assert isinstance(made, Review)
    assert (made.old, made.dry_run) == (None, False)


def test_a_name_that_the_api_server_is_yet_to_make_is_none_of_ours() -> None:
    body = deployment(generateName="web-")
    del body["metadata"]["name"]
    found = review_of(request(operation="CREATE", name="", object=body, oldObject=None), workload_facts)
    assert isinstance(found, Review)
    assert found.name == "web-"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"request": {"uid": 1}},
        request(operation="DELETE"),
        request(object=None),
        request(object={"kind": "Pod", "metadata": {}}),
        request(object={"kind": "Deployment"}),
        request(object={"kind": "Deployment", "metadata": []}),
        request(
            object={
                "kind": "Deployment",
                "metadata": {"name": "web"},
                "spec": {"template": {"spec": {"containers": [1]}}},
            }
        ),
    ],
)
def test_what_is_no_review_is_one_sentence(body: Any) -> None:
    said = review_of(body, workload_facts)
    assert isinstance(said, str)
    assert said.endswith(".")
