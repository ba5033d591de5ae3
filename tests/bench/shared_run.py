"""Many pacts of one provider that wait at the same moment, beside one pact.

The PactProvider is suspended, the pacts of as many consumers are published, and it is let go: what then waits should
share one run. Beside it a Pod of the very same spec, created by hand: one start of the provider, one verifier process
over the same pacts. Needs the demo's cluster (`make demo`); prints seconds, the same per pact, and ratios.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from pact_cluster import ClusterError, Workspace, find_cluster
from pact_cluster.demo_kube import GROUP, OUR_KINDS, VERSION, Kube, Object, condition
from pact_cluster.demo_view import View
from tests.bench.publish_to_verdict import against, completed, pod_round
from tests.support.kind import Kind, pact, unique

WAIT_SECONDS = 300.0
GOAL = 1.2


@dataclass(frozen=True)
class Sample:
    """One round.

    Attributes:
        pacts: How many waited at the same moment.
        runs: PactVerifications, and so Jobs, that they were verified by.
        verdict: Seconds from the moment at which the provider was let go to the verdict on all of them.
        pod_end: Seconds from the creation of the same Pod by hand to the end of its verifier.
    """

    pacts: int
    runs: int
    verdict: float
    pod_end: float


def one_round(kind: Kind, namespace: str, callee: str, callers: Sequence[str], number: int) -> Sample:
    """Publish a changed pact of each consumer while nothing may run, let go, and wait for all verdicts."""
    provider, before = "provider", set(contents(kind.kube.get("PactProvider", namespace, "provider")))
    known = {item["metadata"]["name"] for item in kind.kube.objects("PactVerification", namespace)}
    suspend(kind, namespace, provider, True)
    kind.wait(namespace, "PactProvider", provider, status="Unknown", reason="Suspended")
    with kind.broker_client(write=True) as client:
        for caller in callers:
            client.publish_contracts(caller, str(number), [pact(caller, callee)], branch="main")

    def decided(state: Mapping[str, Object]) -> bool | None:
        found = contents(state[provider])
        verified = len(found) == len(callers) and set(found.values()) == {"Verified"} and before.isdisjoint(found)
        return True if verified and condition(state[provider]).status == "True" else None

    started = time.monotonic()
    suspend(kind, namespace, provider, False)
    kind.kube.wait("PactProvider", namespace, decided, what="all verdicts", seconds=WAIT_SECONDS)
    verdict = time.monotonic() - started
    runs = [run for run in kind.kube.objects("PactVerification", namespace) if run["metadata"]["name"] not in known]
    largest = max(runs, key=lambda run: len(run["spec"]["pacts"]))["metadata"]["name"]
    job = kind.kube.get("Job", namespace, largest)
    if job is None:
        raise ClusterError(f"The Job of {largest} is gone already: raise its TTL.")
    completed(kind, namespace, largest)
    return Sample(len(callers), len(runs), verdict, pod_round(kind, namespace, job, f"pod-{number}"))


def suspend(kind: Kind, namespace: str, name: str, held: bool) -> None:
    """Suspend a PactProvider, or let it go."""
    place = (GROUP, VERSION, namespace, OUR_KINDS["PactProvider"], name)
    kind.kube.custom.patch_namespaced_custom_object(*place, {"spec": {"suspend": held}})


def contents(provider: Object | None) -> dict[str, str]:
    """Content -> state, of a PactProvider's contracts."""
    listed = (provider or {}).get("status", {}).get("contracts") or []
    return {contract["contentSha"]: contract["state"] for contract in listed}


def measure(kind: Kind, pacts: int, rounds: int) -> list[Sample]:
    """Measure one number of pacts; one round more goes first, unmeasured."""
    namespace = kind.namespace("bench")
    callee, callers = unique("callee"), [unique("caller") for _ in range(pacts)]
    kind.broker(namespace)
    kind.provider(namespace, callee)
    kind.wait(namespace, "PactProvider", "provider", status="Unknown", reason="NothingToVerify")
    samples = []
    for number in range(rounds + 1):
        sample = one_round(kind, namespace, callee, callers, number)
        print(f"{pacts} pacts, round {number}: {sample.verdict:.2f} s in {sample.runs} run(s)", file=sys.stderr)
        samples.append(sample)
    return samples[1:]


def show(found: Sequence[Sequence[Sample]], view: View) -> None:
    """Print medians, in all and per pact, and their ratios."""
    table = Table(title="Pacts of one provider that wait at the same moment, medians", title_justify="left")
    for column in ("pacts", "runs", "let go -> verdict", "per pact", "same Pod by hand", "per pact"):
        table.add_column(column, justify="right")
    verdicts, ends = [], []
    for samples in found:
        verdicts.append(median(sample.verdict for sample in samples))
        ends.append(median(sample.pod_end for sample in samples))
        count, runs = samples[0].pacts, max(sample.runs for sample in samples)
        spans = (verdicts[-1], verdicts[-1] / count, ends[-1], ends[-1] / count)
        table.add_row(str(count), str(runs), *(f"{span:.3f} s" for span in spans))
    view.console.print(table)
    one, many = found[0][0].pacts, found[-1][0].pacts
    shared = verdicts[-1] * one / (verdicts[0] * many)
    view.say(f"per pact, {many} : {one} = {shared:.3f} (1 would be a run for each)")
    against(view, f"{many} pacts, let go -> verdict : same Pod by hand", verdicts[-1] / ends[-1], GOAL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark against the demo's cluster.

    Returns:
        The exit code: 0 done, 1 no cluster or no demo.
    """
    parser = argparse.ArgumentParser(prog="shared_run", description=__doc__)
    parser.add_argument("--pacts", type=int, default=100, help="that wait at the same moment (default: 100)")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each number (default: 3)")
    options = parser.parse_args(arguments)
    if options.pacts < 2 or options.rounds < 1:
        parser.error("--pacts must be at least 2, --rounds at least 1")
    workspace = Workspace.find()
    cluster = find_cluster(workspace)
    if cluster is None:
        print("error: No cluster runs: run `make demo` first.", file=sys.stderr)
        return 1
    kube = Kube(cluster.kubeconfig, cluster.context)
    kind = Kind(workspace, kube)
    try:
        show([measure(kind, count, options.rounds) for count in (1, options.pacts)], View())
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        kind.remove_namespaces()
        kube.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
