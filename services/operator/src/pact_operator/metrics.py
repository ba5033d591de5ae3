"""What the operator counts, for Prometheus: `pact_operator_<thing>_<unit>`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pact_operator.api import names
from pact_operator.core.measures import STATES, Body, Ended, drifts, is_ready, promise

_LATENCIES: Final = (1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds: a run takes some, a poll interval is one step, and what took an hour was stuck."""
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one operator, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._looks = Counter(
            "pact_operator_looks_total",
            "Looks at objects, by kind and outcome.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "pact_operator_look_seconds",
            "Duration of looks at objects.",
            ["kind"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 30),
            registry=self.registry,
        )
        self._requests = Counter(
            "pact_operator_broker_requests_total",
            "Questions to Pact Brokers, by operation and outcome; ok is success, skipped was not sent.",
            ["operation", "outcome"],
            registry=self.registry,
        )
        self._runs = Counter(
            "pact_operator_runs_total",
            "Runs that have got their verdict, by its reason, and by whether the version was only asked about.",
            ["reason", "candidate"],
            registry=self.registry,
        )
        self._published = Histogram(
            "pact_operator_publish_to_verdict_seconds",
            "From the publication of a content to its verdict, for first runs of the version that runs.",
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self._rolled_out = Histogram(
            "pact_operator_rollout_to_verdict_seconds",
            "From the first sight of a provider version to the verdict on contracts that were there before it.",
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self._decisions = Counter(
            "pact_operator_gate_decisions_total",
            "Answers of the gate, by verdict and reason, by whether the version may go, mode aside, and by whether the "
            "mode is Shadow, which lets all pass.",
            ["verdict", "reason", "allowed", "shadow"],
            registry=self.registry,
        )
        self._depth = Gauge("pact_operator_queue_depth", "Objects that wait for a look now.", registry=self.registry)

    def looked(self, kind: str, outcome: str, seconds: float) -> None:
        """A look has ended."""
        self._looks.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)

    def ended(self, run: Ended) -> None:
        """A run has got its verdict."""
        self._runs.labels(run.reason, str(run.candidate).lower()).inc()
        for seconds in run.since_publication:
            self._published.observe(seconds)
        if run.since_rollout is not None:
            self._rolled_out.observe(run.since_rollout)

    def asked(self, operation: str, outcome: str) -> None:
        """A question to a broker was answered, or was not."""
        self._requests.labels(operation, outcome).inc()

    def decided(self, verdict: str, reason: str, *, granted: bool, shadow: bool) -> None:
        """The gate has answered."""
        self._decisions.labels(verdict, reason, str(granted).lower(), str(shadow).lower()).inc()

    def watch_queue(self, depth: Callable[[], float], origins: Mapping[str, int]) -> None:
        """Shows the queue: its depth, and the hints by origin."""
        self._depth.set_function(depth)
        self.registry.register(_Hints(origins))

    def watch_objects(self, everywhere: Callable[[str], Iterable[Body]], now: Callable[[], float]) -> None:
        """Shows how the objects stand, read from them at each scrape: nothing is counted twice after a restart.

        Args:
            everywhere: all objects of a kind.
            now: seconds since the epoch.
        """
        self.registry.register(_Objects(everywhere, now))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Hints(Collector):
    def __init__(self, origins: Mapping[str, int]) -> None:
        self._origins = origins

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "pact_operator_hints", "Hints to look at an object, by where they came from.", labels=["origin"]
        )
        for origin, number in sorted(self._origins.items()):
            family.add_metric([origin], number)
        yield family


class _Objects(Collector):
    def __init__(self, everywhere: Callable[[str], Iterable[Body]], now: Callable[[], float]) -> None:
        self._everywhere = everywhere
        self._now = now

    def collect(self) -> Iterable[Metric]:
        contracts = GaugeMetricFamily(
            "pact_operator_contracts",
            "Contracts of a PactProvider, by where they stand.",
            labels=["namespace", "provider", "state"],
        )
        oldest = GaugeMetricFamily(
            "pact_operator_oldest_owed_seconds",
            "How long the contract of a PactProvider that has waited longest has been owed; 0 if none is.",
            labels=["namespace", "provider"],
        )
        drift = GaugeMetricFamily(
            "pact_operator_drift",
            "1 where another version runs than the broker holds as deployed, 0 where they agree.",
            labels=["namespace", "kind", "name"],
        )
        up = GaugeMetricFamily(
            "pact_operator_broker_up", "Whether a PactBroker is Ready.", labels=["namespace", "name"]
        )
        now = self._now()
        for body in self._everywhere(names.PROVIDER):
            told = promise(body, now)
            for state in STATES:
                contracts.add_metric([told.namespace, told.name, state], told.counts[state])
            oldest.add_metric([told.namespace, told.name], told.oldest_owed)
        for kind in (names.CONSUMER, names.PROVIDER):
            for body in self._everywhere(kind):
                if (differs := drifts(body)) is not None:
                    drift.add_metric([*_place(body, kind)], float(differs))
        for body in self._everywhere(names.BROKER):
            namespace, _, name = _place(body, names.BROKER)
            up.add_metric([namespace, name], float(is_ready(body)))
        yield from (contracts, oldest, drift, up)


def _place(body: Body, kind: str) -> tuple[str, str, str]:
    meta = body["metadata"]
    return str(meta.get("namespace", "")), kind, str(meta["name"])
