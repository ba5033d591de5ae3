"""How long from the publication of a changed pact to the verdict on the PactProvider, beside the same Pod by hand.

In each round the operator runs its Job; then a Pod of the very same spec is created by hand in the same namespace and
verifies the same pact: what that takes, no operator can save. Then a bare Job of that spec, up to its condition
Complete: what whoever waits for the Job has to wait for. All three are measured in turns, in one run, so that the
machine's load falls on them alike. Needs the demo's cluster (`make demo`); prints seconds, and ratios with their goals.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median, quantiles

from kubernetes import client as kubernetes
from rich.table import Table

from pact_cluster import ClusterError, Workspace, find_cluster
from pact_cluster.demo_kube import Kube, Object, condition
from pact_cluster.demo_view import View
from tests.support.kind import Kind, pact, unique

WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Sample:
    """Seconds of one round.

    Attributes:
        asked: Publication to the PactVerification's creation. A broker holds a webhook back for some seconds (the
            official one for five); the operator's sweep may come first. Then the look itself.
        verdict: From there to the verdict on the PactProvider, results read back.
        total: Publication to verdict.
        pod_end: Creation of the same Pod by hand to the end of its verifier container.
        job_complete: Creation of a bare Job of the same Pod to its condition Complete.
    """

    asked: float
    verdict: float
    total: float
    pod_end: float
    job_complete: float


LABELS: Mapping[str, str] = {
    "asked": "publication -> run asked for (broker's webhook or a sweep, then the look)",
    "verdict": "run asked for -> verdict",
    "total": "publication -> verdict",
    "pod_end": "same Pod by hand: created -> its verifier ended",
    "job_complete": "bare Job of the same Pod: created -> Complete",
}


LABELLED = {"pact-operator.dev/bench": "bare"}


def bare_pod(job: Object, name: str) -> kubernetes.V1Pod:
    """The Pod of a Job, that no controller knows."""
    meta = kubernetes.V1ObjectMeta(name=name, labels=LABELLED)
    return kubernetes.V1Pod(metadata=meta, spec=job["spec"]["template"]["spec"])


def bare_job(job: Object, name: str) -> kubernetes.V1Job:
    """A Job with the same Pod spec, that no operator knows."""
    spec = {key: job["spec"][key] for key in ("backoffLimit", "activeDeadlineSeconds", "podFailurePolicy")}
    template = {"metadata": {"labels": LABELLED}, "spec": job["spec"]["template"]["spec"]}
    return kubernetes.V1Job(
        metadata=kubernetes.V1ObjectMeta(name=name),
        spec={**spec, "template": template},  # type: ignore[arg-type]
    )


def operator_round(kind: Kind, namespace: str, caller: str, callee: str, number: int) -> tuple[float, float, Object]:
    """Publish a changed pact and wait for its verdict: seconds to the run, seconds from there, its Job."""
    known = {item["metadata"]["name"] for item in kind.kube.objects("PactVerification", namespace)}
    with kind.broker_client(write=True) as client:
        started = time.monotonic()
        client.publish_contracts(caller, str(number), [pact(caller, callee)], branch="main")

        def appeared(state: Mapping[str, Object]) -> Object | None:
            return next((item for name, item in state.items() if name not in known), None)

        what = "a PactVerification of the changed pact"
        run = kind.kube.wait("PactVerification", namespace, appeared, what=what, seconds=WAIT_SECONDS)
        asked = time.monotonic()
        (content,) = (entry["contentSha"] for entry in run["spec"]["pacts"])

        def decided(state: Mapping[str, Object]) -> bool | None:
            found = state["provider"]
            contracts = found.get("status", {}).get("contracts") or []
            verified = any(c["contentSha"] == content and c["state"] == "Verified" for c in contracts)
            return True if verified and condition(found).status == "True" else None

        kind.kube.wait("PactProvider", namespace, decided, what="the verdict", seconds=WAIT_SECONDS)
        ended = time.monotonic()
    job = kind.kube.get("Job", namespace, run["metadata"]["name"])
    if job is None:
        raise ClusterError(f"The Job of {run['metadata']['name']} is gone already: raise its TTL.")
    return asked - started, ended - asked, job


def pod_round(kind: Kind, namespace: str, job: Object, name: str) -> float:
    """Run the same Pod by hand: seconds to its verifier's end."""

    def ended(state: Mapping[str, Object]) -> bool | None:
        for status in state.get(name, {}).get("status", {}).get("containerStatuses") or []:
            if status["name"] == "verifier" and "terminated" in status.get("state", {}):
                return True
        return None

    started = time.monotonic()
    kind.kube.core.create_namespaced_pod(namespace, bare_pod(job, name))
    kind.kube.wait("Pod", namespace, ended, what="the end of the Pod's verifier", seconds=WAIT_SECONDS)
    took = time.monotonic() - started
    kind.kube.core.delete_namespaced_pod(name, namespace)
    return took


def completed(kind: Kind, namespace: str, name: str) -> None:
    """Wait until a Job is Complete."""

    def complete(state: Mapping[str, Object]) -> bool | None:
        return True if condition(state.get(name), "Complete").status == "True" else None

    kind.kube.wait("Job", namespace, complete, what=f"the Job {name}", seconds=WAIT_SECONDS)


def job_round(kind: Kind, namespace: str, job: Object, name: str) -> float:
    """Run the same Pod in a bare Job: seconds to Complete."""
    started = time.monotonic()
    kind.kube.batch.create_namespaced_job(namespace, bare_job(job, name))
    completed(kind, namespace, name)
    return time.monotonic() - started


def measure(kind: Kind, rounds: int) -> list[Sample]:
    """Measure in turns; one round more goes first, unmeasured, so that caches are warm for both."""
    namespace = kind.namespace("bench")
    caller, callee = unique("caller"), unique("callee")
    kind.broker(namespace, webhook={"enabled": True})
    kind.wait(namespace, "PactBroker", "pact-broker", of="WebhookRegistered", status="True", reason="Registered")
    kind.provider(namespace, callee)
    kind.wait(namespace, "PactProvider", "provider", status="Unknown", reason="NothingToVerify")
    samples: list[Sample] = []
    for number in range(rounds + 1):
        asked, verdict, job = operator_round(kind, namespace, caller, callee, number)
        # The operator's own Job is over for everybody but the kubelet, which still stops its provider.
        completed(kind, namespace, job["metadata"]["name"])
        end = pod_round(kind, namespace, job, f"pod-{number}")
        complete = job_round(kind, namespace, job, f"job-{number}")
        if number:
            samples.append(Sample(asked, verdict, asked + verdict, end, complete))
            print(f"round {number}: verdict {verdict:.2f} s, Pod {end:.2f} s, Job {complete:.2f} s", file=sys.stderr)
    return samples


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; of few values close to the largest."""
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def show(samples: Sequence[Sample], view: View) -> None:
    """Print the table, and what the operator adds as ratios of medians."""
    table = Table(title=f"Publication to verdict, {len(samples)} rounds, seconds", title_justify="left")
    for column in ("span", "median", "p95", "min", "max"):
        table.add_column(column, justify="left" if column == "span" else "right")
    medians: dict[str, float] = {}
    for item in fields(Sample):
        values = [float(getattr(sample, item.name)) for sample in samples]
        medians[item.name] = median(values)
        row = (medians[item.name], p95(values), min(values), max(values))
        table.add_row(LABELS[item.name], *(f"{value:.2f}" for value in row))
    view.console.print(table)
    slowest = p95([sample.verdict for sample in samples])
    against(view, "run asked for -> verdict, median : Pod by hand", medians["verdict"] / medians["pod_end"], 1.10)
    against(view, "run asked for -> verdict, p95    : Pod by hand", slowest / medians["pod_end"], 1.25)
    against(view, "run asked for -> verdict, median : bare Job   ", medians["verdict"] / medians["job_complete"], 0.60)
    view.say(f"publication -> verdict, median   : Pod by hand = {medians['total'] / medians['pod_end']:.2f}")


def against(view: View, what: str, ratio: float, goal: float) -> None:
    """Say a ratio of two spans, and whether it keeps its goal."""
    view.say(f"{what} = {ratio:.2f} (goal: at most {goal:.2f}; {'kept' if ratio <= goal else 'missed'})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark against the demo's cluster.

    Returns:
        The exit code: 0 done, 1 no cluster or no demo.
    """
    parser = argparse.ArgumentParser(prog="publish_to_verdict", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="measured rounds (default: 30)")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    workspace = Workspace.find()
    cluster = find_cluster(workspace)
    if cluster is None:
        print("error: No cluster runs: run `make demo` first.", file=sys.stderr)
        return 1
    kube = Kube(cluster.kubeconfig, cluster.context)
    kind = Kind(workspace, kube)
    try:
        show(measure(kind, options.rounds), View())
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        kind.remove_namespaces()
        kube.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
