"""What a process counts. Labels come from closed lists and never from what was sent.

`/metrics` shows these in Prometheus' text format; `/health` shows the few that tell whether something is wrong.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

REGISTRY = CollectorRegistry()


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(name, meaning, labels, registry=REGISTRY)


AUTH_REFUSED = _counter("cds_auth_refused", "Calls whose caller was not accepted, by reason", "reason")
AUTH_DEGRADED = _counter("cds_auth_degraded", "Calls let in though it was not known whether their token was used before")
KEY_FETCHES = _counter("cds_key_fetches", "Questions for EHRs' public keys, by what became of them", "outcome")
SECURITY_EVENTS = _counter("cds_security_events", "What only a fault or an attack explains, by kind", "kind")
FHIR_FETCHES = _counter("cds_fhir_fetches", "Questions to EHRs' FHIR servers, by what became of them", "outcome")
FHIR_BREAKERS = _counter(
    "cds_fhir_breakers", "FHIR servers left alone after failures: opened, probed, closed (opened less closed are so now)", "event"
)
REFUSED = _counter("cds_refused", "Requests answered with an error, by status", "status")
SHED = _counter("cds_shed", "Requests turned away because there were too many, by reason", "reason")
