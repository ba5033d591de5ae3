"""`make demo`, `demo-break`, `demo-fix`, `demo-status`: the whole loop, with what happens shown on the way.

Every command can be run again at any time: it looks at what is there and does what is missing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from brokerclient import BrokerClient
from pact_cluster import demo_broker, demo_releases
from pact_cluster.demo_kube import Condition, Kube, Object, WaitedTooLongError, condition
from pact_cluster.demo_releases import CONSUMER, DEMO, ENVIRONMENT, FASTAPI, PROVIDERS, RESTRICTED, SYSTEM, Helm
from pact_cluster.demo_source import content_version, patched
from pact_cluster.demo_view import Row, View, broken, describe_excerpt, gate_excerpt, rows
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.images import build_images, load_images, reference_of
from pact_cluster.kind import Cluster, ensure_cluster, find_cluster, kubectl, prepare, uses_local_images
from pact_cluster.report import Reporter, Step
from pact_cluster.workspace import ClusterChoice, Workspace

BREAK_PATCH = "jobs/consumer/demo/expects-email.patch"
FIX_PATCH = "services/fastapi_provider/demo/serves-email.patch"
RENAME_PATCH = "services/fastapi_provider/demo/renames-name.patch"
JOBS = "0.1.0"
PLAIN, CHANGED, RENAMED = "1.0.0", "1.1.0", "2.0.0"
"""The series of versions of the tree as it is, of a patched one, and of the provider that nobody lets in."""

_BROKER_SECONDS = 180.0
_PUBLISH_SECONDS = 180.0
_VERDICT_SECONDS = 240.0
_RECORD_SECONDS = 120.0
_SHOWN_ROWS = 12
_FINAL_STATES = {"Verified", "Failed", "PendingFailed"}
# What no patience mends: a person has to change something.
_HOPELESS = {
    "TestsFailed",
    "NothingWritten",
    "PactInvalid",
    "PactNamesAnotherConsumer",
    "PublishRejected",
    "InvalidSpec",
    "BrokerUnauthorized",
    "NotABroker",
}


@dataclass
class Progress:
    """The steps of one command: numbered, timed, with what comes next.

    Attributes:
        titles: All steps, in order.
        timings: Of the steps that have ended, in seconds.
    """

    report: Reporter
    titles: Sequence[str]
    timings: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self) -> Iterator[Step]:
        """Run the next step."""
        number = len(self.timings)
        title = self.titles[number]
        following = f"next: {self.titles[number + 1]}" if number + 1 < len(self.titles) else "the last step"
        shown = f"{number + 1}/{len(self.titles)} {title}"
        if not self.report.live:
            self.report.say(f"start   {shown}; {following}")
        with self.report.step(shown) as running:
            running.update(following)
            yield running
        self.timings.append((title, running.seconds))


class Told:
    """Passes what a wait sees on to a step; without a terminal also as lines of their own, when it changes."""

    def __init__(self, step: Step, report: Reporter) -> None:
        self._step = step
        self._report = report
        self._last = ""

    def __call__(self, detail: str) -> None:
        """Take one phrase."""
        if detail == self._last:
            return
        self._last = detail
        self._step.update(detail)
        if not self._report.live:
            self._report.say(f"...     {detail}")


@dataclass
class Session:
    """What all commands share once the cluster is there."""

    workspace: Workspace
    report: Reporter
    kube: Kube
    cluster: Cluster

    def providers(self) -> dict[str, Object]:
        """The PactProviders of the demo, by pacticipant."""
        return {item["spec"]["pacticipant"]: item for item in self.kube.objects("PactProvider", DEMO)}

    def images(
        self, wanted: Mapping[str, str | None], step: Step, workspace: Workspace | None = None
    ) -> dict[str, str]:
        """Build images and load them into the node; name to reference."""
        step.update(f"building {', '.join(wanted)} where something has changed")
        built = build_images(workspace or self.workspace, wanted, self.report)
        step.update(f"loading what the node lacks of {', '.join(wanted)}")
        load_images(self.workspace, built.values(), self.report)
        return built


@contextmanager
def session(workspace: Workspace, report: Reporter, cluster: Cluster) -> Iterator[Session]:
    """Open the API of a cluster."""
    kube = Kube(cluster.kubeconfig, cluster.context)
    try:
        yield Session(workspace, report, kube, cluster)
    finally:
        kube.close()


# --- the commands ----------------------------------------------------------------------------------------------------


def demo(workspace: Workspace, report: Reporter | None = None) -> int:
    """Bring everything up at the tree's versions, wait for the verdicts, show the matrix.

    Returns:
        0 if every contract holds, else 1.

    Raises:
        ClusterError: One sentence says what is wrong.
    """
    report = report or Reporter()
    if workspace.settings.cluster is ClusterChoice.CONTEXT:
        raise ClusterError(
            "The demo builds its images and loads them into a kind cluster: run it without CLUSTER=context:NAME. For a "
            "cluster of your own install the charts, as docs/ says."
        )
    progress = Progress(
        report,
        [
            "Tools, Docker engine, kind cluster; images beside",
            "Images of the broker and the operator",
            "Operator and broker (helm)",
            "Images of the providers, the consumer and the jobs",
            "Providers (helm)",
            "Broker ready",
            "Consumer (helm), its pact tests, publication",
            "Verification of the contracts",
            "What runs, recorded in the broker",
        ],
    )
    view = View()
    with workspace.locked("demo"):
        with progress.step():
            cluster = _cluster_and_images(workspace, report)
        with session(workspace, report, cluster) as run:
            version = deploy(run, progress)
            with demo_broker.connected(workspace, run.kube, DEMO) as client:
                wanted = demo_broker.contents(client, CONSUMER, PROVIDERS)
                with progress.step() as step:
                    scope = demo_broker.in_scope(client, PROVIDERS)
                    verdicts(run, wanted, PROVIDERS, Told(step, report), scope=scope)
                with progress.step() as step:
                    providers = recorded(run, PROVIDERS, Told(step, report))
                found = _matrix(client, providers)
            failures = broken(providers)
            if not failures:
                deployed(run, version)
    view.matrix(found)
    view.deployments(providers.values())
    view.timings(progress.timings)
    if failures:
        view.broken(failures)
        view.say(
            "A contract does not hold at the versions of this tree: mend what the table names, and run `make demo`."
        )
        return 1
    view.say(f"{CONSUMER} {version} and both providers keep their contracts, verified in the cluster.")
    view.say("The broker holds as deployed what runs: no drift.")
    view.say('Look around:   eval "$(.venv/bin/python -m pact_cluster env)"; kubectl get pact -A')
    view.say("What is next:  make demo-break   (a consumer expects a field that no provider serves)")
    return 0


def _cluster_and_images(workspace: Workspace, report: Reporter) -> Cluster:
    """The cluster; while it starts, which is mostly waiting, the images are built."""
    engine = prepare(workspace, report)
    wanted = image_versions(workspace, local=uses_local_images(workspace, engine, report))
    with ThreadPoolExecutor(max_workers=1) as beside:
        building = beside.submit(build_images, workspace, wanted, report)
        cluster = ensure_cluster(workspace, report)
        building.result()
    return cluster


def image_versions(workspace: Workspace, *, local: bool) -> dict[str, str | None]:
    """The images of the demo and their tags; None: a tag made from the content.

    Args:
        workspace: Whose tree.
        local: Whether no registry answers, so that broker and database are images of our own, too.
    """
    own: dict[str, str | None] = {"postgres": None, "broker-lite": None} if local else {}
    jobs = {name: content_version(workspace.root, name, JOBS) for name in ("verifier", "publisher", "gate")}
    plain = {name: content_version(workspace.root, name, PLAIN) for name in (*PROVIDERS, "consumer")}
    return {**own, "operator": None, **jobs, **plain}


def demo_break(workspace: Workspace, report: Reporter | None = None) -> int:
    """Publish a consumer version that expects a field that no provider serves; show which contracts break, and why.

    Returns:
        0: the contracts broke, as they should.

    Raises:
        ClusterError: The demo does not run, or they did not break.
    """
    report = report or Reporter()
    progress = Progress(
        report,
        [
            "The demo that runs",
            "Images: a consumer that expects $.email, a provider that renames $.name",
            "Consumer (helm), its pact tests, publication",
            "Verification of the contracts",
            "Upgrade of the FastAPI provider (helm), which asks the gate",
        ],
    )
    view = View()
    with workspace.locked("demo"), _running(workspace, report, progress) as run:
        before = _current_versions(run)
        with progress.step() as step, patched(workspace, workspace.root / BREAK_PATCH) as changed:
            base = content_version(changed.root, "consumer", CHANGED)
            image = run.images({"consumer": base}, step, changed)["consumer"]
            with patched(workspace, workspace.root / RENAME_PATCH) as renamed:
                candidate = content_version(renamed.root, FASTAPI, RENAMED)
                candidate_image = run.images({FASTAPI: candidate}, step, renamed)[FASTAPI]
        with demo_broker.connected(workspace, run.kube, DEMO) as client:
            with progress.step() as step:
                version = publish(run, client, image, base, Told(step, report))
            wanted = demo_broker.contents(client, CONSUMER, PROVIDERS)
            with progress.step() as step:
                providers = verdicts(run, wanted, PROVIDERS, Told(step, report))
            with progress.step() as step:
                refusal = refused_upgrade(run, candidate_image, step)
            found = _matrix(client, providers)
    failures = [item for item in broken(providers) if item.consumer == CONSUMER]
    view.matrix(found)
    view.broken(failures)
    for name in sorted({item.provider for item in failures}):
        view.say(f"$ kubectl -n {DEMO} describe pactprovider {name}")
        view.say(describe_excerpt(kubectl(workspace, "-n", DEMO, "describe", "pactprovider", name)))
        view.say("")
    view.say(f"$ helm upgrade {FASTAPI} charts/provider --namespace {DEMO} --set image.tag={candidate} ...")
    view.say(refusal)
    view.say("")
    view.timings(progress.timings)
    kept = [name for name in PROVIDERS if name not in {item.provider for item in failures}]
    if kept == [FASTAPI] and before.get(FASTAPI, "").startswith(CHANGED):
        view.say(f"{CONSUMER} {version} expects $.email: {FASTAPI} {before[FASTAPI]} serves it, and holds.")
    elif kept:
        raise ClusterError(
            f"{' and '.join(kept)} kept the contract of {CONSUMER} {version}, though it expects $.email: is the tree "
            f"changed? `make demo` puts everything back to it."
        )
    else:
        view.say(
            f"{CONSUMER} {version} expects $.email, and no provider serves it: both contracts broke, as they should."
        )
    view.say(f"{FASTAPI} {candidate} was never rolled out: the gate refused it, and {before[FASTAPI]} runs on.")
    view.say("What is next:  make demo-fix   (the FastAPI provider learns to serve it)")
    return 0


def demo_fix(workspace: Workspace, report: Reporter | None = None) -> int:
    """Roll out a FastAPI provider that serves the field; its contract turns green by itself, Flask's stays broken.

    Returns:
        0: it did.

    Raises:
        ClusterError: The demo does not run, nothing was broken, or it did not turn green.
    """
    report = report or Reporter()
    progress = Progress(
        report,
        [
            "The demo that runs",
            "Image of a FastAPI provider that serves $.email",
            "Provider (helm) and the verification of its contract",
            "What runs, recorded in the broker",
        ],
    )
    view = View()
    with workspace.locked("demo"), _running(workspace, report, progress) as run:
        if not _consumer_version(run).startswith(CHANGED):
            raise ClusterError("Nothing is broken yet: run `make demo-break` first.")
        with progress.step() as step, patched(workspace, workspace.root / FIX_PATCH) as changed:
            version = content_version(changed.root, FASTAPI, CHANGED)
            image = run.images({FASTAPI: version}, step, changed)[FASTAPI]
        with demo_broker.connected(workspace, run.kube, DEMO) as client:
            wanted = demo_broker.contents(client, CONSUMER, PROVIDERS)
            with progress.step() as step:
                step.update(f"helm upgrade {FASTAPI}: its hook asks the gate, which has the version verified")
                said = Helm(workspace).upgrade(demo_releases.provider(FASTAPI, image, gate_image(workspace)))
                told = Told(step, report)
                verdicts(run, wanted, PROVIDERS, told, versions={FASTAPI: version})
            with progress.step() as step:
                providers = recorded(run, PROVIDERS, Told(step, report))
            found = _matrix(client, providers)
    view.matrix(found)
    view.objects(providers.values())
    view.deployments(providers.values())
    if answer := gate_excerpt(said):
        view.say(f"$ helm upgrade {FASTAPI} charts/provider --namespace {DEMO} --set image.tag={version} ...")
        view.say(answer)
        view.say("")
    view.timings(progress.timings)
    failures = {item.provider for item in broken(providers)}
    if FASTAPI in failures:
        view.broken(broken(providers))
        raise ClusterError(
            f"{FASTAPI} {version} was to serve $.email, and its contract is still broken: see the table."
        )
    view.say(f"{FASTAPI} {version} keeps its contract: the rollout of its image was all that it took.")
    if failures:
        view.say(f"{' and '.join(sorted(failures))} does not serve $.email yet, and stays red.")
    view.say("What is next:  make demo   (back to the versions of the tree), or make down")
    return 0


def demo_status(workspace: Workspace, report: Reporter | None = None) -> int:
    """Show the objects and the matrix as they stand; changes nothing.

    Raises:
        ClusterError: No demo runs.
    """
    report = report or Reporter()
    view = View()
    cluster = find_cluster(workspace)
    if cluster is None:
        raise ClusterError("No cluster runs: run `make demo`.")
    with session(workspace, report, cluster) as run:
        objects = [
            item for kind in ("PactBroker", "PactConsumer", "PactProvider") for item in run.kube.objects(kind, DEMO)
        ]
        if not objects:
            raise ClusterError(f"No demo runs in the namespace {DEMO}: run `make demo`.")
        view.objects(objects)
        with demo_broker.connected(workspace, run.kube, DEMO) as client:
            view.matrix(_matrix(client, run.providers()))
        view.deployments(run.providers().values())
    return 0


COMMANDS: Mapping[str, Callable[[Workspace, Reporter], int]] = {
    "demo": demo,
    "demo-break": demo_break,
    "demo-fix": demo_fix,
    "demo-status": demo_status,
}
"""Command line name to function."""


# --- their parts; the end-to-end tests use the same ------------------------------------------------------------------


def deploy(run: Session, progress: Progress) -> str:
    """Build, load and install everything but the cluster, up to the consumer's publication.

    Args:
        run: The session.
        progress: With the six steps between the cluster and the verification.

    Returns:
        The consumer version that is the newest on its branch.
    """
    workspace, kube = run.workspace, run.kube
    assert run.cluster.engine is not None, "a kind cluster has an engine"  # noqa: S101
    local = uses_local_images(workspace, run.cluster.engine, run.report)
    wanted = image_versions(workspace, local=local)
    first = {name: tag for name, tag in wanted.items() if tag is None}
    # What the Jobs and the Deployments of the providers need can be loaded while broker and database start.
    versions = {name: tag for name, tag in wanted.items() if tag is not None}
    with progress.step() as step:
        images = run.images(first, step)
    helm = Helm(workspace)
    with progress.step() as step:
        for namespace in (SYSTEM, DEMO):
            kube.ensure_namespace(namespace, RESTRICTED)
        step.update("helm upgrade --install pact-operator")
        helm.apply(demo_releases.operator(images | {name: reference_of(name, tag) for name, tag in versions.items()}))
        step.update("the kinds")
        kube.wait_for_kinds(seconds=60)
        _nothing_leaves(run, Told(step, run.report))
        step.update("helm upgrade --install pact-broker")
        helm.apply(demo_releases.broker(images))
    with progress.step() as step:
        built = run.images(versions, step)
    with progress.step() as step:
        step.update(f"helm upgrade --install {' and '.join(PROVIDERS)}")
        with ThreadPoolExecutor(max_workers=len(PROVIDERS)) as pool:
            list(pool.map(helm.apply, [demo_releases.provider(name, built[name], built["gate"]) for name in PROVIDERS]))
    with progress.step() as step:
        broker_ready(run, Told(step, run.report))
    with progress.step() as step, demo_broker.connected(workspace, kube, DEMO) as client:
        return publish(run, client, built["consumer"], versions["consumer"], Told(step, run.report))


def _nothing_leaves(run: Session, seen: Told) -> None:
    """Wait until no PactBroker is on its way out: helm would take one for there that goes a moment later."""

    def judge(state: Mapping[str, Object]) -> bool | None:
        return None if any("deletionTimestamp" in item["metadata"] for item in state.values()) else True

    what, look = "the former PactBroker to go", f"kubectl -n {DEMO} describe pactbrokers"
    run.kube.wait("PactBroker", DEMO, judge, what=what, look=look, seconds=_BROKER_SECONDS, seen=seen)


def broker_ready(run: Session, seen: Told) -> None:
    """Wait until broker and operator are rolled out, and the operator has reached the broker and set it up.

    Raises:
        ClusterError: It never does, or refuses the credentials.
    """
    # Ready may still speak of the Pods before: a broker that is about to be replaced must not be asked.
    for namespace, name in ((DEMO, demo_releases.BROKER), (SYSTEM, "pact-operator")):
        what, look = f"the rollout of {name}", f"kubectl -n {namespace} describe deployment,pods"
        judged = partial(rolled_out, name)
        run.kube.wait("Deployment", namespace, judged, what=what, look=look, seconds=_BROKER_SECONDS, seen=seen)

    def judge(state: Mapping[str, Object]) -> bool | None:
        ready = condition(state.get("pact-broker"))
        _give_up(f"PactBroker {DEMO}/pact-broker", ready)
        return True if ready.current and ready.status == "True" else None

    what, look = "the operator to reach the broker", f"kubectl -n {DEMO} get pods; kubectl -n {SYSTEM} get pods"
    run.kube.wait("PactBroker", DEMO, judge, what=what, look=look, seconds=_BROKER_SECONDS, seen=seen)


def rolled_out(name: str, state: Mapping[str, Object]) -> bool | None:
    """As `kubectl rollout status`: the controller has seen the spec, and only Pods of it are left, all available."""
    found = state.get(name, {})
    status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return True if seen and counts == [wanted] * 3 else None


def publish(run: Session, client: BrokerClient, image: str, base: str, seen: Told) -> str:
    """Have the consumer's tests run from an image, and their pacts published as the newest of the branch.

    Args:
        run: The session.
        client: The broker; tells which versions it holds.
        image: The consumer's image.
        base: The version that its content has by itself.
        seen: Told the progress.

    Returns:
        The version; `base`, or `base.<n>` where the broker holds that content already and a newer one.
    """
    there = run.kube.get("PactConsumer", DEMO, CONSUMER)
    spent = str(there["status"]["version"]) if there and condition(there).reason == "Published" else ""
    version = demo_broker.version_to_publish(client, CONSUMER, base, demo_releases.BRANCH, spent)
    Helm(run.workspace).apply(demo_releases.consumer(image, version))

    def judge(state: Mapping[str, Object]) -> bool | None:
        found = state.get(CONSUMER)
        ready = condition(found)
        if found is None or not ready.current or found.get("status", {}).get("version") != version:
            return None
        _give_up(f"PactConsumer {DEMO}/{CONSUMER}", ready)
        return True if ready.status == "True" else None

    what, look = f"the publication of {CONSUMER} {version}", f"kubectl -n {DEMO} describe pactconsumer {CONSUMER}"
    run.kube.wait("PactConsumer", DEMO, judge, what=what, look=look, seconds=_PUBLISH_SECONDS, seen=seen)
    return version


def deployed(run: Session, version: str) -> None:
    """Record a consumer version as deployed, as the consumer's own pipeline would.

    The consumer runs in people's browsers, say, and not in this cluster: nobody else can tell.
    """
    with demo_broker.connected(run.workspace, run.kube, DEMO, write=True) as client:
        client.record_deployment(CONSUMER, version, client.ensure_environment(ENVIRONMENT).uuid)


def gate_image(workspace: Workspace) -> str:
    """The image of the Job that asks the gate, as `make demo` has built and loaded it."""
    return reference_of("gate", content_version(workspace.root, "gate", JOBS))


def refused_upgrade(run: Session, image: str, step: Step) -> str:
    """Upgrade the FastAPI provider to a version that breaks the contract of the consumer that is deployed.

    Returns:
        What its hook said.

    Raises:
        ClusterError: It was not refused, or was rolled out all the same.
    """
    before = _current_versions(run)
    release = demo_releases.provider(FASTAPI, image, gate_image(run.workspace))
    step.update(f"helm upgrade {FASTAPI}: its hook asks the gate, which has the version verified")
    try:
        Helm(run.workspace).upgrade(release)
    except CommandFailedError as error:
        said = gate_excerpt(error.output)
        if "REFUSED" not in said:
            raise
    else:
        raise ClusterError(
            f"{FASTAPI} {demo_releases.tag_of(image)} renames $.name, and the gate let it pass: is {CONSUMER} recorded "
            f"as deployed in the environment {ENVIRONMENT}? `make demo` records it."
        )
    if _current_versions(run) != before:
        raise ClusterError(f"{FASTAPI} was refused, and rolled out all the same: look at its Deployment.")
    return said


def verdicts(
    run: Session,
    wanted: Mapping[str, str],
    names: Collection[str],
    seen: Told,
    versions: Mapping[str, str] | None = None,
    scope: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Object]:
    """Wait until each provider's contract has its verdict for one content and the version that is rolled out.

    Args:
        run: The session.
        wanted: Provider to the content SHA of its newest pact.
        names: The providers.
        seen: Told the progress.
        versions: Provider to the version that must have been verified; else the one in its Deployment.
        scope: Provider to the contents in its scope: a verdict on another one is from before, and no verdict yet.

    Returns:
        The PactProviders by pacticipant.

    Raises:
        ClusterError: A contract is missing, or has no verdict in time.
    """
    missing = [name for name in names if name not in wanted]
    if missing:
        raise ClusterError(f"The broker holds no pact of {CONSUMER} for {' and '.join(missing)}: see its pact tests.")
    expected = _current_versions(run) | dict(versions or {})

    def judge(state: Mapping[str, Object]) -> dict[str, Object] | None:
        found = {item["spec"]["pacticipant"]: item for item in state.values()}
        done = [
            name
            for name in names
            if settled(found.get(name), wanted[name], expected.get(name, ""), scope[name] if scope else None)
        ]
        return found if len(done) == len(names) else None

    what, look = f"a verdict on {' and '.join(names)}", f"kubectl -n {DEMO} get pact,jobs,pods"
    return run.kube.wait("PactProvider", DEMO, judge, what=what, look=look, seconds=_VERDICT_SECONDS, seen=seen)


def recorded(run: Session, names: Collection[str], seen: Told) -> dict[str, Object]:
    """Wait until the broker holds as deployed what runs of each provider.

    Args:
        run: The session.
        names: The providers.
        seen: Told the progress.

    Returns:
        The PactProviders by pacticipant.

    Raises:
        ClusterError: It does not in time; the message says what it holds.
    """
    expected = _current_versions(run)

    def judge(state: Mapping[str, Object]) -> dict[str, Object] | None:
        found = {item["spec"]["pacticipant"]: item for item in state.values()}
        waits = [name for name in names if not in_record(found.get(name), expected.get(name, ""))]
        if waits:
            last[:] = [f"{name} {condition(found.get(name), 'Recorded')}" for name in waits]
            seen("; ".join(last))
        return None if waits else found

    last: list[str] = []
    what, look = f"the record of {' and '.join(names)}", f"kubectl -n {DEMO} describe pactproviders"
    try:
        return run.kube.wait("PactProvider", DEMO, judge, what=what, look=look, seconds=_RECORD_SECONDS)
    except WaitedTooLongError as error:
        raise ClusterError(f"{error} Of the record is said: {'; '.join(last)}") from error


def in_record(found: Object | None, version: str) -> bool:
    """Whether the broker holds as deployed the one version that is rolled out, as a PactProvider shows it."""
    told = condition(found, "Recorded")
    shown = (found or {}).get("status", {}).get("deployment") or {}
    return told.current and told.status == "True" and shown.get("running") == version


def settled(found: Object | None, content_sha: str, version: str, scope: Collection[str] | None = None) -> bool:
    """Whether a PactProvider shows a verdict on one content, for one provider version, at its present generation.

    Args:
        found: The PactProvider.
        content_sha: The content.
        version: The provider version.
        scope: All contents that there may be verdicts on; None: any.
    """
    ready = condition(found)
    if found is None or not ready.current or ready.status == "Unknown":
        return False
    status = found.get("status", {})
    own = [contract for contract in status.get("contracts") or [] if contract["providerVersion"] == version]
    if scope is not None and any(contract["contentSha"] not in scope for contract in own):
        return False
    return status.get("version") == version and any(
        contract["contentSha"] == content_sha and contract["state"] in _FINAL_STATES for contract in own
    )


def _give_up(name: str, ready: Condition) -> None:
    if ready.current and ready.status == "False" and ready.reason in _HOPELESS:
        raise ClusterError(f"{name}: {ready}")


@contextmanager
def _running(workspace: Workspace, report: Reporter, progress: Progress) -> Iterator[Session]:
    """The demo that `make demo` left.

    Raises:
        ClusterError: There is none.
    """
    with progress.step():
        cluster = find_cluster(workspace)
        if cluster is None:
            raise ClusterError("No cluster runs: run `make demo` first.")
        if cluster.engine is None:
            raise ClusterError("The demo runs on a kind cluster: run it without CLUSTER=context:NAME.")
        kube = Kube(cluster.kubeconfig, cluster.context)
        there = {item["metadata"]["name"] for item in kube.objects("PactProvider", DEMO)}
        there |= {item["metadata"]["name"] for item in kube.objects("PactConsumer", DEMO)}
    try:
        if not {CONSUMER, *PROVIDERS} <= there:
            raise ClusterError(f"The demo does not run in the namespace {DEMO}: run `make demo` first.")
        yield Session(workspace, report, kube, cluster)
    finally:
        kube.close()


def _current_versions(run: Session) -> dict[str, str]:
    """Provider to the tag of the image that its Deployment names."""
    return {
        item["metadata"]["name"]: demo_releases.tag_of(item["spec"]["template"]["spec"]["containers"][0]["image"])
        for item in run.kube.objects("Deployment", DEMO)
        if item["metadata"]["name"] in PROVIDERS
    }


def _consumer_version(run: Session) -> str:
    found = run.kube.get("PactConsumer", DEMO, CONSUMER) or {}
    return str(found.get("spec", {}).get("version", {}).get("value", ""))


def _matrix(client: BrokerClient, providers: Mapping[str, Object]) -> list[Row]:
    return rows(demo_broker.matrix(client, CONSUMER, PROVIDERS), providers)[:_SHOWN_ROWS]
