"""What a process counts. Labels come from closed lists and never from what was sent.

`/metrics` shows these in Prometheus' text format; `/health` shows the few that tell whether something is wrong.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

REGISTRY = CollectorRegistry()


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(name, meaning, labels, registry=REGISTRY)


AUTH_REFUSED = _counter("cds_auth_refused", "Calls whose caller was not accepted, by reason", "reason")
SECURITY_EVENTS = _counter("cds_security_events", "What only a fault or an attack explains, by kind", "kind")
FHIR_FETCHES = _counter("cds_fhir_fetches", "Questions to EHRs' FHIR servers, by what became of them", "outcome")
REFUSED = _counter("cds_refused", "Requests answered with an error, by status", "status")
SHED = _counter("cds_shed", "Requests turned away because there were too many, by reason", "reason")


def by_label(counter: Counter) -> dict[str, int]:
    """What a counter with one label has counted in this process, by the value of that label."""
    samples = (sample for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total"))
    return {next(iter(sample.labels.values())): int(sample.value) for sample in samples}
