"""What the operator counts, for Prometheus: `pact_operator_<thing>_<unit>`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

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
        self._depth = Gauge("pact_operator_queue_depth", "Objects that wait for a look now.", registry=self.registry)

    def looked(self, kind: str, outcome: str, seconds: float) -> None:
        """A look has ended."""
        self._looks.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)

    def asked(self, operation: str, outcome: str) -> None:
        """A question to a broker was answered, or was not."""
        self._requests.labels(operation, outcome).inc()

    def watch_queue(self, depth: Callable[[], float], origins: Mapping[str, int]) -> None:
        """Shows the queue: its depth, and the hints by origin."""
        self._depth.set_function(depth)
        self.registry.register(_Hints(origins))

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
