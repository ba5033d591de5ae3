"""The four kinds of `pact-operator.dev/v1alpha1` as models; the CRDs are generated from these.

A field's description is what `kubectl explain` shows. Fields are camelCase on the wire. Specs refuse unknown
fields (the API server prunes them, a test's typo should not pass); statuses and what Kubernetes owns do not.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

Name = Annotated[str, Field(min_length=1, max_length=253)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h)$")]
MAX_DEPTH = 64
"""Levels of a part that the schema leaves open; a Pod template has about a dozen."""


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    """Refuses what nests so deeply that reading it could exhaust the stack."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise PydanticCustomError("too_deep", "nests more than {levels} levels deep", {"levels": MAX_DEPTH})


def _pod_template(value: dict[str, Any]) -> dict[str, Any]:
    """Refuses another shape than a Pod template's in the parts that Jobs are made of.

    The API server keeps any JSON here (it has no schema of a Pod template to offer), so it is up to us to tell.
    """
    meta, spec = _part(value, "metadata", dict), _part(value, "spec", dict)
    for field in ("labels", "annotations"):
        for key, text in _part(meta, field, dict, "metadata.").items():
            _same(text, str, f"metadata.{field}.{key}")
    _part(spec, "securityContext", dict, "spec.")
    _part(spec, "volumes", list, "spec.")
    for field in ("initContainers", "containers"):
        for number, container in enumerate(_part(spec, field, list, "spec.")):
            where = f"spec.{field}.{number}"
            _same(container, dict, where)
            _part(container, "name", str, f"{where}.")
            _part(container, "image", str, f"{where}.")
            _part(container, "env", list, f"{where}.")
            _part(container, "volumeMounts", list, f"{where}.")
            _part(container, "securityContext", dict, f"{where}.")
    return value


P = TypeVar("P", dict[str, Any], list[Any], str)
_SHAPES = {dict: "an object", list: "a list", str: "a text"}


def _part(outer: dict[str, Any], field: str, kind: type[P], where: str = "") -> P:
    value = outer.get(field)
    return kind() if value is None else _same(value, kind, where + field)


def _same(value: Any, kind: type[P], where: str) -> P:
    if not isinstance(value, kind):
        raise PydanticCustomError(
            "template", "{where} of the Pod template must be {shape}", {"where": where, "shape": _SHAPES[kind]}
        )
    return value


_OPEN = Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
PodTemplate = Annotated[dict[str, Any], AfterValidator(_shallow), AfterValidator(_pod_template), _OPEN]
Quantities = Annotated[dict[str, Any], AfterValidator(_shallow), _OPEN]
VolumeSource = Annotated[dict[str, Any], AfterValidator(_shallow), _OPEN]

SELECTS = (
    "main_branch",
    "branch",
    "matching_branch",
    "tag",
    "latest",
    "deployed",
    "released",
    "deployed_or_released",
    "environment",
)
"""The fields of a selector that select by themselves."""

EXACTLY_ONE = "exactly one of {names} must be set"


def _rules(*rules: tuple[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def _exactly_one(*names: str) -> tuple[str, str]:
    rule = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return (f"{rule} == 1", EXACTLY_ONE.format(names=" and ".join(names)))


class Strict(BaseModel):
    """Part of a spec: camelCase, frozen, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class Open(BaseModel):
    """Part of a status or of what Kubernetes owns: camelCase, frozen, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


_MAIN_BRANCH = (
    "Main branch of the pacticipant in the broker. Pacticipant and main branch are made if they are missing; "
    "a main branch that is set already is left as it is."
)

# --- shared parts of specs -------------------------------------------------------------------------------------------


class LocalRef(Strict):
    """The name of an object in the same namespace."""

    name: Name = Field(description="Name of the object in the same namespace.")


class KeyRef(Strict):
    """One key of a Secret in the same namespace."""

    name: Name = Field(description="Name of the Secret in the same namespace.")
    key: Name = Field(default="ca.crt", description="Key of the Secret whose value is meant.")


class WorkloadRef(Strict):
    """Where to read a version: a container of a Deployment."""

    kind: Literal["Deployment"] = Field(default="Deployment", description="Kind of the workload.")
    name: Name = Field(description="Name of the Deployment in the same namespace.")
    container: Name | None = Field(
        default=None, description="The container whose image tag is the version; the first one if left out."
    )
    label: Name | None = Field(
        default=None,
        description="Read the version from this label of the Pod template instead of from the image's tag.",
    )


class VersionSource(Strict):
    """What version of the pacticipant is meant: a fixed value, or what a workload runs."""

    model_config = ConfigDict(json_schema_extra=_rules(_exactly_one("value", "fromWorkload")))

    value: Text | None = Field(default=None, description="The version itself.")
    from_workload: WorkloadRef | None = Field(
        default=None, description="Read the version from a Deployment; a rollout of a new image is a new version."
    )


class Selector(Strict):
    """A consumer version selector, as the Pact Broker knows it."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                " || ".join(f"has(self.{to_camel(field)})" for field in SELECTS),
                "a selector needs more than a consumer: name a branch, a tag, latest, deployed or an environment",
            )
        )
    )

    main_branch: bool | None = Field(default=None, description="The head of each consumer's main branch.")
    branch: Text | None = Field(default=None, description="The head of this branch of each consumer.")
    matching_branch: bool | None = Field(
        default=None, description="The head of the consumer's branch that is named like the provider's."
    )
    tag: Text | None = Field(default=None, description="Versions with this tag.")
    fallback_tag: Text | None = Field(
        default=None, description="With tag and latest: the tag to use where none was found."
    )
    latest: bool | None = Field(default=None, description="Only the latest (of the tag, or overall).")
    deployed: bool | None = Field(default=None, description="Versions deployed to any (or the named) environment.")
    released: bool | None = Field(default=None, description="Versions released and supported.")
    deployed_or_released: bool | None = Field(default=None, description="Versions deployed, or released and supported.")
    environment: Text | None = Field(default=None, description="The environment that is meant.")
    consumer: Text | None = Field(default=None, description="Only this consumer.")


class ProviderStates(Strict):
    """How the verifier sets provider states up."""

    path: str = Field(
        pattern=r"^/", max_length=1024, description="Path at the provider that provider states are POSTed to."
    )


class Ephemeral(Strict):
    """The provider is started for the run, beside the verifier, from the image of the very version asked for."""

    template: PodTemplate = Field(
        description="Pod template of the provider. Its containers become native sidecars of the verifier. "
        "`{version}` in an image stands for the provider version that is verified."
    )
    port: int = Field(ge=1, le=65535, description="Port that the provider listens on, on localhost of its Pod.")
    readiness_path: str = Field(
        default="",
        pattern=r"^(/.*)?$",
        max_length=1024,
        description="The verifier waits until GET on this path answers below 400; without it until the port accepts.",
    )


class ServiceTarget(Strict):
    """A live Service is verified. For providers that cannot be started for a run; states then change what runs."""

    name: Name = Field(description="Name of the Service in the same namespace.")
    port: int = Field(default=80, ge=1, le=65535, description="Port of the Service.")
    scheme: Literal["http", "https"] = Field(default="http", description="Scheme that the Service speaks.")
    path: str = Field(default="", pattern=r"^(/.*)?$", max_length=1024, description="Path in front of every request.")


class Target(Strict):
    """What the verifier sends the contract's requests to."""

    model_config = ConfigDict(json_schema_extra=_rules(_exactly_one("ephemeral", "service")))

    ephemeral: Ephemeral | None = Field(default=None, description="Start the exact provider version for the run.")
    service: ServiceTarget | None = Field(default=None, description="Verify a live Service instead.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.ephemeral is None) == (self.service is None):
            raise PydanticCustomError("exactly_one", EXACTLY_ONE.format(names="ephemeral and service"))
        return self


class Run(Strict):
    """How the Job runs."""

    active_deadline_seconds: int = Field(
        default=600, ge=10, le=86400, description="Seconds after which Kubernetes ends the Job, retries included."
    )
    infra_retries: int = Field(
        default=2, ge=0, le=10, description="How often the Job tries again after infrastructure trouble (exit code 75)."
    )
    max_concurrent: int = Field(
        default=1, ge=1, le=50, description="How many runs of this object may be active at the same time."
    )
    ttl_seconds_after_finished: int = Field(
        default=3600, ge=0, le=2592000, description="Seconds after which Kubernetes removes the finished Job."
    )
    ready_timeout_seconds: int = Field(
        default=60, ge=1, le=3600, description="Seconds that the provider may take until it is ready."
    )
    resources: Quantities | None = Field(
        default=None, description="Resource requests and limits of the verifier (or publisher) container."
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels for Job and Pod, such as a Kueue queue name."
    )
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations for Job and Pod.")


class JUnitReport(Strict):
    """Where the verifier leaves a JUnit report."""

    volume: VolumeSource = Field(
        description="The volume that it is put into, as in a Pod but without a name, such as "
        "`persistentVolumeClaim: {claimName: reports}`. The file is called like the PactVerification, with `.xml`."
    )


# --- conditions ------------------------------------------------------------------------------------------------------


class Condition(Open):
    """A condition, as `metav1.Condition`."""

    type: str = Field(description="Type of the condition, unique in the list.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="CamelCase reason of the last change.")
    message: str = Field(default="", description="One sentence for people.")
    observed_generation: int | None = Field(default=None, description="Generation that the condition speaks of.")
    last_transition_time: str = Field(
        description="When status last changed.", json_schema_extra={"format": "date-time"}
    )


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class Status(Open):
    """What every status has."""

    observed_generation: int | None = Field(default=None, description="Generation of the spec that was last looked at.")
    actor: str | None = Field(
        default=None, description="Who must act before the conditions can change; left out while all is well."
    )
    next_step: str | None = Field(default=None, description="What that is to do next, or what is waited for.")
    conditions: Conditions = Field(default_factory=list, description="What holds, what does not, and why.")


class Meta(Open):
    """The part of ObjectMeta that the operator reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    deletion_timestamp: str | None = None
    creation_timestamp: str | None = None


class Object(Open):
    """What every kind of ours has around its spec and status."""

    metadata: Meta = Field(default_factory=Meta)

    @classmethod
    def parse(cls, body: Any) -> Self | str:
        """Reads an object as the API server holds it.

        Args:
            body: the object as a mapping.

        Returns:
            The model, or one sentence that names the first bad field.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            return f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}"


# --- PactBroker ------------------------------------------------------------------------------------------------------


class BrokerAuth(Strict):
    """Credentials, each a Secret with `username` and `password` (basic) or `token` (bearer, PactFlow)."""

    read_secret_ref: LocalRef | None = Field(
        default=None, description="Secret that may read; the operator uses it for everything that does not write."
    )
    write_secret_ref: LocalRef | None = Field(
        default=None, description="Secret that may write; used by publisher and verifier, and for set-up of the broker."
    )


class Environment(Strict):
    """What this namespace is to the broker."""

    name: Annotated[str, Field(pattern=r"^\S+$", max_length=253)] = Field(
        description="Name of the environment in the broker; made if it is missing."
    )
    display_name: Text | None = Field(default=None, description="Name for people; used when it is made.")
    production: bool = Field(default=False, description="Whether it is a production environment; used when it is made.")


class WebhookSpec(Strict):
    """Whether the broker is asked to tell the operator of new pacts."""

    enabled: bool = Field(
        default=False,
        description="Register a webhook in the broker that tells the operator to look now. "
        "Without it new pacts are found at the next poll.",
    )


class Recording(Strict):
    """Whether what runs in the cluster is recorded in the broker as deployed."""

    mode: Literal["Off", "Observe", "Record"] = Field(
        default="Observe",
        description="Observe shows where broker and cluster differ and writes nothing; Record also records what has "
        "been rolled out (`record-deployment`) and what was taken away; Off does neither.",
    )


class GateIgnore(Strict):
    """A pacticipant whose contracts do not hold anybody up for a while."""

    pacticipant: Text = Field(description="Name of the other side; its contracts with what is asked about are ignored.")
    until: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = Field(
        description="Last day (UTC, YYYY-MM-DD) on which it is ignored; after it the entry has no effect."
    )
    why: Text | None = Field(default=None, description="For people: why, and who decided it.")


class GateSpec(Strict):
    """How the gate answers "may this version go to this environment?"."""

    mode: Literal["Enforce", "Shadow"] = Field(
        default="Enforce",
        description="Shadow decides and counts as Enforce does, says what it would have refused, and lets all pass.",
    )
    when_nothing_to_check: Literal["Deny", "Allow"] = Field(
        default="Deny", description="What a version gets that no contract concerns: the broker alone would say yes."
    )
    when_cannot_tell: Literal["Deny", "Allow"] = Field(
        default="Deny", description="What a version gets while the broker does not answer, or not as it should."
    )
    ignore: list[GateIgnore] = Field(
        default_factory=list, max_length=50, description="Pacticipants that do not count for a while."
    )


class PactBrokerSpec(Strict):
    """Where a Pact Broker is and how to speak to it."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=2048)] = Field(
        description="Base URL of the broker, a path prefix included. Credentials do not belong here."
    )
    auth: BrokerAuth = Field(default_factory=BrokerAuth, description="Credentials; none means anonymous.")
    ca_secret_ref: KeyRef | None = Field(
        default=None, description="Certificate authority that signed the broker's certificate, if not a public one."
    )
    poll_interval: Duration = Field(
        default="30s", description="How often the operator looks by itself; a hint only makes it look sooner."
    )
    environment: Environment | None = Field(
        default=None, description="The environment that this namespace is to the broker."
    )
    webhook: WebhookSpec = Field(default_factory=WebhookSpec, description="Hints from the broker.")
    recording: Recording = Field(
        default_factory=Recording,
        description="What runs in this namespace, recorded in the broker as deployed; needs spec.environment.",
    )
    gate: GateSpec = Field(default_factory=GateSpec, description="The gate of this namespace.")
    max_concurrent_runs: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="How many runs of all PactProviders of this broker may be active at the same time; those that wait "
        "longest go first. Without it only spec.run.maxConcurrent of each bounds them. Runs that people make are not "
        "counted.",
    )
    suspend: bool = Field(default=False, description="Stop all that needs this broker.")


class PactBrokerStatus(Status):
    """What is known of the broker."""


class PactBroker(Object):
    """A Pact Broker, inside or outside the cluster, and how to speak to it."""

    spec: PactBrokerSpec
    status: PactBrokerStatus = Field(default_factory=PactBrokerStatus)


# --- deployments: shared by PactConsumer and PactProvider -------------------------------------------------------------


class DeploymentStatus(Open):
    """What runs, what the broker holds as deployed, and what the operator itself has recorded."""

    broker: str = Field(default="", description="URL of the broker.")
    environment: str = Field(default="", description="The environment in the broker.")
    application_instance: str | None = Field(default=None, description="The instance that it speaks of.")
    workload: str | None = Field(
        default=None,
        description="The Deployment that was last seen; it tells one that is gone from one that never was.",
    )
    running: str | None = Field(
        default=None, description="The version whose rollout has completed; absent where nothing runs."
    )
    in_broker: list[str] = Field(
        default_factory=list, description="Versions that the broker holds as deployed for the instance."
    )
    recorded: str | None = Field(
        default=None, description="What the operator last recorded as deployed here, or found recorded."
    )
    recorded_at: str | None = Field(
        default=None, description="When that was.", json_schema_extra={"format": "date-time"}
    )
    recording: str | None = Field(
        default=None, description="The version that is being recorded; noted before the broker is told."
    )
    request: str | None = Field(default=None, description="The last request of a person to record that was answered.")


# --- PactConsumer ----------------------------------------------------------------------------------------------------


class PactConsumerSpec(Strict):
    """A consumer whose pact tests run in the cluster, once for each new version."""

    broker_ref: LocalRef = Field(description="The PactBroker that the pacts are published to.")
    pacticipant: Text = Field(description="Name of the consumer in the broker and in its pacts.")
    version: VersionSource = Field(description="The consumer version; a new one runs the tests once.")
    branch: Text | None = Field(default=None, description="Branch of the version in the broker.")
    main_branch: Text | None = Field(default=None, description=_MAIN_BRANCH)
    template: PodTemplate = Field(
        description="Pod template whose containers run the pact tests, in order, and write pact files to /pacts. "
        "`{version}` in an image stands for the consumer version. They get no broker credential."
    )
    application_instance: Text | None = Field(
        default=None,
        description="Name of this instance in the broker's record of deployments, where several objects run the same "
        "pacticipant in one environment (blue and green, a canary); empty means the one without a name.",
    )
    run: Run = Field(default_factory=Run, description="How the Job runs.")
    suspend: bool = Field(default=False, description="Start no Job.")


class PublishedPact(Open):
    """A pact that was published."""

    provider: str = Field(description="Name of the provider.")
    interactions: int = Field(default=0, description="Number of interactions and messages in it.")
    url: str | None = Field(default=None, description="Where the broker shows it.")


class ConsumerRun(Open):
    """The last run of the tests."""

    job_name: str = Field(description="Name of the Job.")
    attempt: int = Field(default=0, description="How many runs of the same version went before, for infrastructure.")
    finished_at: str | None = Field(default=None, description="When its verdict was taken.")


class PactConsumerStatus(Status):
    """What became of the consumer's pacts."""

    version: str | None = Field(default=None, description="The version that the conditions speak of.")
    run: ConsumerRun | None = Field(default=None, description="The last run of the tests.")
    pacts: list[PublishedPact] = Field(default_factory=list, description="What that run published.")
    deployment: DeploymentStatus | None = Field(
        default=None, description="What runs, and what the broker holds as deployed."
    )


class PactConsumer(Object):
    """A consumer's pact tests: run as a Job for each new version, their pacts published."""

    spec: PactConsumerSpec
    status: PactConsumerStatus = Field(default_factory=PactConsumerStatus)


# --- PactProvider and PactVerification -------------------------------------------------------------------------------


class PactProviderSpec(Strict):
    """The standing promise that every owed pact of this provider is verified."""

    broker_ref: LocalRef = Field(description="The PactBroker that holds the pacts.")
    pacticipant: Text = Field(description="Name of the provider in the broker.")
    version: VersionSource = Field(description="The provider version that must keep its contracts.")
    branch: Text | None = Field(
        default=None, description="Branch of the version in the broker; decides what is pending."
    )
    main_branch: Text | None = Field(default=None, description=_MAIN_BRANCH)
    target: Target = Field(description="What the verifier speaks to.")
    provider_states: ProviderStates | None = Field(default=None, description="How provider states are set up.")
    message_path: str | None = Field(
        default=None,
        pattern=r"^/",
        max_length=1024,
        description="Path at the provider that answers with the messages it produces; needed for message pacts.",
    )
    selectors: list[Selector] = Field(
        default_factory=list,
        max_length=50,
        description="Consumer version selectors. Without any: main branches, and what is deployed or released.",
    )
    enable_pending: bool = Field(
        default=False,
        description="A contract that this branch never kept does not break it while it is pending.",
    )
    include_wip_pacts_since: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = Field(
        default=None, description="Also verify work-in-progress pacts published since this day (YYYY-MM-DD)."
    )
    application_instance: Text | None = Field(
        default=None,
        description="Name of this instance in the broker's record of deployments, where several objects run the same "
        "pacticipant in one environment (blue and green, a canary); empty means the one without a name.",
    )
    junit: JUnitReport | None = Field(default=None, description="Leave a JUnit report of each run.")
    run: Run = Field(default_factory=Run, description="How the Jobs run.")
    rerun: Text | None = Field(
        default=None,
        description="Any new text here runs the broken contracts once more, such as the time of day. "
        "The annotation pact-operator.dev/requested-at does the same.",
    )
    suspend: bool = Field(default=False, description="Start no verification.")


class ContractStatus(Open):
    """One contract of one provider version."""

    consumer: str = Field(description="Name of the consumer.")
    provider_version: str = Field(description="The provider version.")
    content_sha: str = Field(description="Identifies the content of the pact.")
    state: Literal["Owed", "Running", "Verified", "Failed", "PendingFailed", "Blocked"] = Field(
        description="Where it stands."
    )
    owed_since: str | None = Field(
        default=None,
        description="Since when a result is owed; absent once there is one.",
        json_schema_extra={"format": "date-time"},
    )
    reason: str = Field(default="", description="CamelCase reason, as in conditions.")
    actor: str | None = Field(default=None, description="Who must act on it; left out where nobody has to.")
    message: str = Field(default="", description="One sentence for people, such as the first mismatch.")
    verification: str | None = Field(default=None, description="The PactVerification that last took it up.")
    result_url: str | None = Field(default=None, description="The result in the broker.")


class Candidate(Open):
    """A version that somebody asked the gate about, to be verified before it is rolled out."""

    version: str = Field(description="The provider version.")
    until: str = Field(
        description="Until when it is looked after, unless it is asked about again.",
        json_schema_extra={"format": "date-time"},
    )


class PactProviderStatus(Status):
    """How the promise stands."""

    version: str | None = Field(default=None, description="The current provider version.")
    version_since: str | None = Field(
        default=None,
        description="Since when that is the current version.",
        json_schema_extra={"format": "date-time"},
    )
    verified: int | None = Field(default=None, description="Contracts that hold.")
    owed: int | None = Field(default=None, description="Contracts that have no result yet.")
    failed: int | None = Field(default=None, description="Contracts that are broken.")
    queued_since: str | None = Field(
        default=None,
        description="Since when it waits for one of the places that spec.maxConcurrentRuns of the PactBroker allows.",
        json_schema_extra={"format": "date-time"},
    )
    contracts: Annotated[
        list[ContractStatus],
        Field(
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["consumer", "providerVersion", "contentSha"],
            }
        ),
    ] = Field(default_factory=list, max_length=500, description="One entry per contract and provider version.")
    candidates: Annotated[
        list[Candidate],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]}),
    ] = Field(
        default_factory=list,
        max_length=20,
        description="Versions that the gate was asked about with verify=true. Their contracts are listed like all "
        "others, and count neither in the numbers nor in Ready.",
    )
    deployment: DeploymentStatus | None = Field(
        default=None, description="What runs, and what the broker holds as deployed."
    )


class PactProvider(Object):
    """A provider's standing promise: every owed pact is verified against the exact version that runs."""

    spec: PactProviderSpec
    status: PactProviderStatus = Field(default_factory=PactProviderStatus)


class PactRef(Strict):
    """One pact to verify."""

    consumer: Text = Field(description="Name of the consumer.")
    content_sha: Text = Field(description="Identifies the content of the pact in the broker.")
    url: Annotated[str, Field(pattern=r"^https?://", max_length=4096)] = Field(
        description="Link of the pact as the broker gave it for verification."
    )
    pending: bool = Field(default=False, description="Its failure does not break the run.")


class PactVerificationSpec(Strict):
    """One run of one provider version against one or more pacts. Immutable."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            ("self == oldSelf", "a PactVerification is one run: its spec cannot change, create another one"),
            ("!(has(self.pacts) && has(self.selectors))", "pacts and selectors exclude each other"),
        )
    )

    broker_ref: LocalRef = Field(description="The PactBroker that holds the pacts.")
    pacticipant: Text = Field(description="Name of the provider in the broker.")
    provider_version: Text = Field(description="The provider version that is run and that results are published for.")
    provider_branch: Text | None = Field(default=None, description="Branch of that version.")
    target: Target = Field(description="What the verifier speaks to.")
    provider_states: ProviderStates | None = Field(default=None, description="How provider states are set up.")
    message_path: str | None = Field(
        default=None, pattern=r"^/", max_length=1024, description="Path that answers with the provider's messages."
    )
    pacts: list[PactRef] | None = Field(
        default=None, min_length=1, max_length=100, description="Exactly these pacts; else the selectors decide."
    )
    selectors: list[Selector] | None = Field(
        default=None,
        max_length=50,
        description="Consumer version selectors; used when pacts is left out. "
        "Without any: main branches, and what is deployed or released.",
    )
    enable_pending: bool = Field(default=False, description="With selectors: pending pacts do not break the run.")
    publish_results: bool = Field(
        default=False, description="Publish the results to the broker. Off for a candidate that is only asked about."
    )
    attempt: int = Field(default=0, ge=0, description="How many runs of the same work went before it.")
    request: Text | None = Field(default=None, description="The request of a person that it answers, if it does.")
    junit: JUnitReport | None = Field(default=None, description="Leave a JUnit report of the run.")
    run: Run = Field(default_factory=Run, description="How the Job runs.")


class PactResult(Open):
    """What a run says of one pact."""

    consumer: str = Field(description="Name of the consumer.")
    content_sha: str = Field(description="Identifies the content of the pact.")
    outcome: Literal["Passed", "Failed", "PendingFailed", "Error"] = Field(description="How it ended.")
    interactions: int = Field(default=0, description="Number of interactions that were tried.")
    failed: int = Field(default=0, description="Number of interactions that failed.")
    mismatch: str = Field(default="", description="The first mismatch: which interaction, which field.")
    published_at: str | None = Field(
        default=None,
        description="When the content was first published, as the broker has it.",
        json_schema_extra={"format": "date-time"},
    )


class PactVerificationStatus(Status):
    """How the run went."""

    job_name: str | None = Field(default=None, description="Name of the Job.")
    start_time: str | None = Field(
        default=None, description="When the Job was asked for.", json_schema_extra={"format": "date-time"}
    )
    completion_time: str | None = Field(
        default=None, description="When the verdict was taken.", json_schema_extra={"format": "date-time"}
    )
    pacts: list[PactResult] = Field(default_factory=list, max_length=200, description="One entry per pact.")


class PactVerification(Object):
    """One run: one provider version against one or more pacts. Made by the operator, a person or a pipeline."""

    spec: PactVerificationSpec
    status: PactVerificationStatus = Field(default_factory=PactVerificationStatus)
