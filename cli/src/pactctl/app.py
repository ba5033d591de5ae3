"""The commands. Each asks the cluster, decides by pure functions, shows, and ends with an exit code of `Exit`."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
import yaml
from rich.console import Console, RenderableType
from rich.live import Live

from pactctl import views
from pactctl.cluster import Cluster, Operator
from pactctl.exits import Exit, PactctlError
from pactctl.objects import (
    ANNOTATION_RECORD,
    BROKER,
    CONSUMER,
    KINDS,
    PROVIDER,
    VERIFICATION,
    Object,
    candidate,
    condition,
    deployments,
    image_tag,
    is_current,
    matrix,
    named,
    namespace_of,
    standing,
    verdict,
)

app = typer.Typer(
    name="pactctl",
    help="What holds, what does not, and why: Pact Operator's command line. Works with the kubeconfig alone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Output(StrEnum):
    """How to show an answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True)
class Session:
    """What all commands share."""

    kubeconfig: str | None
    context: str | None

    def cluster(self) -> Cluster:
        """Connects; the namespace of the context is the cluster's."""
        return Cluster(self.kubeconfig, self.context)


connect: Callable[[Session], Cluster] = Session.cluster
"""Makes the cluster of a session; tests put theirs here."""

Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; else that of the context.")]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look into all namespaces.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to show it.")]
Patience = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most.")]
OperatorNamespace = Annotated[
    str, typer.Option("--operator-namespace", envvar="PACT_OPERATOR_NAMESPACE", help="Where the operator runs.")
]
OperatorService = Annotated[
    str, typer.Option("--operator-service", envvar="PACT_OPERATOR_SERVICE", help="The operator's Service.")
]
OperatorPort = Annotated[int, typer.Option("--operator-port", help="Port of that Service.")]
_WIDE: Final = 160


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Without a terminal there is nothing to fit to: a table in a log is not folded at 80 columns.
    width = None if stream.isatty() else max(_WIDE, shutil.get_terminal_size((_WIDE, 24)).columns)
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def _show(output: Output, table: RenderableType, data: Any) -> None:
    match output:
        case Output.JSON:
            typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
        case Output.YAML:
            typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
        case Output.TABLE:
            _console().print(table)


def _session(context: typer.Context) -> Session:
    session: Session = context.obj
    return session


@app.callback()
def common(
    context: typer.Context,
    kubeconfig: Annotated[str | None, typer.Option(envvar="KUBECONFIG", help="Path of the kubeconfig.")] = None,
    kube_context: Annotated[
        str | None, typer.Option("--context", help="The context in it; else the current one.")
    ] = None,
) -> None:
    """Keeps what all commands share."""
    context.obj = Session(kubeconfig, kube_context)


# --- status ----------------------------------------------------------------------------------------------------------


@app.command()
def status(
    context: typer.Context,
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and show every change.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Shows the matrix and every object; ends with 1 if a contract is broken."""
    cluster = connect(_session(context))
    place = None if everywhere else namespace or cluster.namespace
    if not watch:
        objects = cluster.objects(KINDS, place)
        _show(output, views.status(objects, everywhere=everywhere), _status_data(objects))
        raise typer.Exit(_standing_code(objects))
    if output is not Output.TABLE:
        raise PactctlError("--watch draws a table: leave --output away, or use `kubectl get pact --watch`.", Exit.USAGE)
    console = _console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for objects in cluster.changes(KINDS, place):
            live.update(views.status(objects, everywhere=everywhere), refresh=True)


def _status_data(objects: Sequence[Object]) -> dict[str, Any]:
    return {
        "contracts": [row.shown() for row in matrix(objects)],
        "objects": [views.shown(found) for found in objects if found["kind"] != VERIFICATION.name],
    }


def _standing_code(objects: Sequence[Object]) -> Exit:
    # That a candidate is broken is for those to hear who asked about it.
    broken = any(row.state == "Failed" and not row.candidate for row in matrix(objects))
    return Exit.NO if broken else Exit.YES


# --- verify ----------------------------------------------------------------------------------------------------------


@app.command()
def verify(
    context: typer.Context,
    image: Annotated[
        str, typer.Argument(help="The candidate's image, such as registry.example.com/catalog:1.3.0-rc1.")
    ],
    provider: Annotated[str, typer.Option("--provider", "-p", help="The PactProvider whose contracts count.")],
    namespace: Namespace = None,
    version: Annotated[str | None, typer.Option(help="Its version; else the image's tag.")] = None,
    container: Annotated[
        str | None, typer.Option(help="The container of the Pod template that gets the image.")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Publish the results to the broker.")] = False,
    timeout: Patience = 600,
    output: Format = Output.TABLE,
) -> None:
    """Verifies an image that is not deployed, and waits for the verdict."""
    cluster = connect(_session(context))
    place = namespace or cluster.namespace
    found = cluster.find(provider, place, (PROVIDER,))
    number = version or image_tag(image)
    if not number:
        raise PactctlError(f"{image} has no tag to take the version from: give --version.", Exit.USAGE)
    asked_at = datetime.now(UTC).isoformat()
    run = cluster.create(candidate(found, image, number, publish=publish, container=container, asked_at=asked_at))
    name = run["metadata"]["name"]
    with _progress(f"{named(run)} runs {image}") as tell:
        run = _await_run(cluster, run, timeout, tell)
    code = verdict(run)
    if code is None:
        raise PactctlError(
            f"{named(run)} has no verdict after {timeout:.0f} s: {standing(run).message or 'nothing was said yet'} "
            f"It goes on: `kubectl wait --for=condition=Succeeded pactverification/{name} --namespace {place}`.",
            Exit.UNDECIDED,
        )
    _show(output, views.run_result(run), run.get("status") or {})
    _console(stderr=True).print(f"{standing(run).reason}: {standing(run).message}", markup=False)
    raise typer.Exit(code)


def _await_run(cluster: Cluster, run: Object, seconds: float, tell: Callable[[str], None]) -> Object:
    meta = run["metadata"]
    for objects in cluster.changes((VERIFICATION,), meta["namespace"], name=meta["name"], seconds=seconds):
        if not objects:
            raise PactctlError(f"{named(run)} was deleted before it had a verdict.", Exit.UNDECIDED)
        run = objects[0]
        if verdict(run) is not None:
            return run
        now = standing(run)
        tell(f"{now.reason}: {now.message}" if now.reason else "waiting for the operator to look at it")
    return run


# --- the gate --------------------------------------------------------------------------------------------------------


@app.command("can-i-deploy")
def can_i_deploy(
    context: typer.Context,
    pacticipant: Annotated[str, typer.Option("--pacticipant", "-a", help="Name of what is to be deployed.")],
    version: Annotated[str, typer.Option("--version", "-e", help="Its version.")],
    to_environment: Annotated[
        str | None, typer.Option("--to-environment", help="The environment; else that of the PactBroker.")
    ] = None,
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="The PactBroker, if there are several.")] = None,
    namespace: Namespace = None,
    verify_it: Annotated[
        bool, typer.Option("--verify", help="Have a provider version verified that has no results yet.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Ask again while waiting helps, until --timeout.")] = False,
    timeout: Patience = 600,
    operator_namespace: OperatorNamespace = "pact-system",
    operator_service: OperatorService = "pact-operator",
    operator_port: OperatorPort = 8080,
    output: Format = Output.TABLE,
) -> None:
    """Asks the gate whether a version may go to an environment."""
    cluster = connect(_session(context))
    place = namespace or cluster.namespace
    name = broker or _the_broker(cluster, place)
    question = {"pacticipant": pacticipant, "version": version}
    if to_environment:
        question["environment"] = to_environment
    if verify_it:
        question["verify"] = "true"
    operator = Operator(operator_namespace, operator_service, operator_port)
    answer = cluster.gate(operator, place, name, question)
    if wait and answer.get("retry"):
        with _progress(f"{pacticipant} {version}") as tell:
            # Something changes in the cluster before the gate can say something else.
            for _ in cluster.changes(KINDS, place, seconds=timeout):
                answer = cluster.gate(operator, place, name, question)
                if not answer.get("retry"):
                    break
                tell(str(answer.get("message", "")))
    _show(output, views.decision(answer), dict(answer))
    raise typer.Exit(gate_code(answer))


def gate_code(answer: Mapping[str, Any]) -> Exit:
    """The exit code for an answer of the gate."""
    if answer.get("allowed"):
        return Exit.YES
    codes = {"Broken": Exit.NO, "Pending": Exit.UNDECIDED, "NothingToCheck": Exit.NOTHING}
    return codes.get(str(answer.get("verdict")), Exit.UNAVAILABLE)


def _the_broker(cluster: Cluster, namespace: str) -> str:
    names = [found["metadata"]["name"] for found in cluster.objects((BROKER,), namespace)]
    if len(names) == 1:
        return str(names[0])
    if not names:
        raise PactctlError(f"There is no PactBroker in namespace {namespace}: choose another with -n.", Exit.USAGE)
    raise PactctlError(f"Namespace {namespace} has several PactBrokers: say --broker {' or '.join(names)}.", Exit.USAGE)


# --- explain ---------------------------------------------------------------------------------------------------------


@app.command()
def explain(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="OBJECT", help="KIND/NAME, or a name that only one object has.")],
    namespace: Namespace = None,
    output: Format = Output.TABLE,
) -> None:
    """Says why an object is as it is, who must act, and what comes next."""
    cluster = connect(_session(context))
    found = cluster.find(what, namespace or cluster.namespace)
    events = cluster.events(found)
    _show(output, views.explanation(found, events), views.explained(found, events))


# --- the record ------------------------------------------------------------------------------------------------------


@app.command()
def record(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="OBJECT", help="A PactConsumer or PactProvider.")],
    namespace: Namespace = None,
    timeout: Patience = 60,
    output: Format = Output.TABLE,
) -> None:
    """Has the operator record once what runs, whatever the recording mode but Off."""
    cluster = connect(_session(context))
    found = cluster.find(what, namespace or cluster.namespace, (CONSUMER, PROVIDER))
    kind = PROVIDER if found["kind"] == PROVIDER.name else CONSUMER
    if not condition(found, "Recorded").status:
        raise PactctlError(
            f"{named(found)} is not recorded: its PactBroker needs spec.environment and a recording mode other than "
            "Off, and it needs spec.version.fromWorkload.",
            Exit.USAGE,
        )
    before = _request_answered(found)
    cluster.annotate(found, ANNOTATION_RECORD, datetime.now(UTC).isoformat(timespec="milliseconds"))
    meta = found["metadata"]
    answered = False
    with _progress(f"{named(found)} is recorded") as tell:
        for objects in cluster.changes((kind,), meta["namespace"], name=meta["name"], seconds=timeout):
            found = objects[0] if objects else found
            told = condition(found, "Recorded")
            answered = _request_answered(found) != before and told.reason not in ("Recording", "RolloutInProgress")
            if answered:
                break
            tell(f"{told.reason}: {told.message}")
    rows = deployments([found])
    _show(output, views.drift(rows), [row.shown() for row in rows])
    if not answered:
        raise PactctlError(
            f"{named(found)} is not recorded after {timeout:.0f} s: {condition(found, 'Recorded').message}",
            Exit.UNDECIDED,
        )
    raise typer.Exit(Exit.YES if condition(found, "Recorded").status == "True" else Exit.NO)


def _request_answered(found: Object) -> str:
    told = (found.get("status") or {}).get("deployment") or {}
    return str(told.get("request") or "")


@app.command()
def drift(
    context: typer.Context,
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    output: Format = Output.TABLE,
) -> None:
    """Shows what runs beside what the broker holds as deployed; ends with 1 if they differ."""
    cluster = connect(_session(context))
    place = None if everywhere else namespace or cluster.namespace
    rows = deployments(cluster.objects((CONSUMER, PROVIDER), place))
    _show(output, views.drift(rows), [row.shown() for row in rows])
    raise typer.Exit(Exit.NO if any(row.drifts for row in rows) else Exit.YES)


# --- shared ----------------------------------------------------------------------------------------------------------


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """Shows what is waited for: a line that moves on a terminal, else a line for each change."""
    console = _console(stderr=True)
    if console.is_terminal:
        with console.status(what) as line:
            yield lambda detail: line.update(f"{what}: {detail}")
        return
    last = ""

    def tell(detail: str) -> None:
        nonlocal last
        if detail != last:
            console.print(f"{what}: {detail}", markup=False)
            last = detail

    yield tell


def main() -> None:
    """Runs the command line; errors are one sentence on the standard error, and an exit code."""
    try:
        app()
    except PactctlError as error:
        typer.echo(f"pactctl: {error}", err=True)
        sys.exit(error.code)


__all__ = ["app", "gate_code", "is_current", "main", "namespace_of"]
