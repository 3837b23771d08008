"""Draw the pages of the playground.

Imported at the first request for a page, so that a process without such requests stays small.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import msgspec

from cds_service import __version__
from cds_service.authoring.samples import Sample
from cds_service.criteria.escaping import cleaned
from cds_service.decide.decision import Outcome
from cds_service.explain.evidence import NO_NAME, NOT_RECOGNISED
from cds_service.explain.explanation import CardExplanation, Explanation
from cds_service.explain.nearest import nearest
from cds_service.explain.text import MOST_UNUSED, outcome_words
from cds_service.files.page_templates import page_templates
from cds_service.knowledge.knowledge import Knowledge
from cds_service.playground.completions import Completions
from cds_service.playground.kept_calls import MOST_CALLS, KeptCall
from cds_service.review_site.json_view import coloured, is_json, pretty
from cds_service.review_site.words import html, template
from cds_service.settings import DEV_BANNER

_DISPLAY_ORDER = (
    Outcome.FAILED, Outcome.FIRED, Outcome.COULD_NOT_CHECK, Outcome.GAVE_WAY, Outcome.REPEATED, Outcome.CAPPED,
    Outcome.NOT_APPLICABLE, Outcome.NOT_FIRED,
)  # fmt: skip


class Pages:
    """Draw the pages for one set of cards and samples."""

    def __init__(self, knowledge: Knowledge, samples: Mapping[str, Sample]) -> None:
        self._knowledge = knowledge
        self._samples = samples
        self._pages = page_templates("cds_service.playground")
        self._pages.globals.update(markdown=html, coloured=coloured, encoded=msgspec.json.encode, outcome_words=outcome_words)
        self._pages.globals.update(template=template, banner=DEV_BANNER, version=__version__, most_unused=MOST_UNUSED)
        self._pages.globals.update(hooks=[service.hook for service in knowledge.services], samples=samples)
        orders = (line for sample in samples.values() for line in sample.orders if isinstance(line, str))
        drafts = (line.removeprefix("order:").strip() for line in orders)
        self.completions = Completions.of(knowledge.terminology, drafts)
        self._pages.globals.update(completions=self.completions)

    def home(self, values: Mapping[str, str], error: str = "") -> str:
        """Return the page with the forms, filled with `values`.

        `error` says why the last form was refused, "" where none was.
        """
        return self._pages.get_template("home.html").render(values=values, error=error)

    def calls(self, calls: Sequence[KeptCall], *, forgotten: bool) -> str:
        """Return the list of kept calls; `forgotten`: say that what was shown before has just been forgotten."""
        return self._pages.get_template("calls.html").render(calls=calls, most_calls=MOST_CALLS, forgotten=forgotten)

    def call(self, call: KeptCall, order: str = "", error: str = "") -> str:
        """Return the page of one call: cards, reasons, bodies, timings, how to repeat it.

        `error` says why the changed `order` was refused, "" where none was.
        """
        explanation = call.explained(self._knowledge)
        cards = explanation.cards if explanation is not None else []
        cards = sorted(cards, key=lambda card: _DISPLAY_ORDER.index(card.outcome))
        repeated = [card for card in cards if card.outcome is Outcome.REPEATED]
        said_before = [card for card in cards if card.said_before]
        outcome = msgspec.json.decode(call.response) if call.status != 200 and is_json(call.response) else None
        return self._pages.get_template("call.html").render(
            call=call,
            explanation=explanation,
            explained=cards,
            repeated=repeated,
            said_before=said_before,
            nearest=nearest(explanation) if explanation is not None and not (call.cards or repeated or said_before) else [],
            counts=_counts(cards),
            chart=_chart(call.request),
            outcome=outcome,
            times=_times(call),
            curl=_curl(call),
            error=error,
            order=order,
            unknown_orders=self._unknown_orders(explanation),
            values={"request": pretty(call.request)},
        )

    def _unknown_orders(self, explanation: Explanation | None) -> list[tuple[str, str]]:
        """Return the (name, similar drug or "") of each draft order whose drug no card knows."""
        rows = explanation.read if explanation is not None else []
        unknown = [row.text for row in rows if row.kind == "order" and row.meaning in (NOT_RECOGNISED, NO_NAME)]
        return [(name, self.completions.similar_drug(name)) for name in unknown]

    def gone(self) -> str:
        """Return the page for a call that this process no longer remembers."""
        return self._pages.get_template("gone.html").render()


def style() -> bytes:
    """Return the style sheet: that of the cards' pages, that of drawn cards, and the playground's own."""
    shared = files("cds_service.review_site").joinpath("templates")
    base = shared.joinpath("style.css").read_bytes() + shared.joinpath("drawn.css").read_bytes()
    return base + files("cds_service.playground").joinpath("static", "playground.css").read_bytes()


def script() -> bytes:
    return files("cds_service.playground").joinpath("static", "playground.js").read_bytes()


def _counts(cards: list[CardExplanation]) -> dict[str, int]:
    spoken = [outcome_words(card) for card in cards]
    return {one: spoken.count(one) for one in dict.fromkeys(spoken)}


def _times(call: KeptCall) -> list[tuple[str, float, float]]:
    """Return (phase, ms, percent of the whole) for each phase."""
    rest = call.total_ms - sum(call.phases.values())
    rows = [*call.phases.items(), ("everything else" if call.phases else "the whole call", rest)]
    return [(name.replace("_", " "), ms, 100 * ms / call.total_ms) for name, ms in rows]


def _chart(body: bytes) -> dict[str, Any]:
    """Return what can be read about the patient and orders of a request.

    The keys are `patient`, `about`, `hook` and `orders`.
    """
    found: dict[str, Any] = {"patient": "", "about": "", "hook": "", "orders": []}
    if not is_json(body) or not isinstance(request := msgspec.json.decode(body), dict):
        return found
    patient = _at(request, "prefetch", "patient")
    name = _at(patient, "name", 0)
    names = [_at(name, "text"), _at(name, "family"), _at(request, "context", "patientId")]
    found["patient"] = next((cleaned(one) for one in names if isinstance(one, str)), "")
    found["about"] = ", ".join(cleaned(one) for key in ("gender", "birthDate") if isinstance(one := _at(patient, key), str))
    found["hook"] = cleaned(hook) if isinstance(hook := request.get("hook"), str) else ""
    entries = _at(request, "context", "draftOrders", "entry")
    for entry in entries if isinstance(entries, list) else []:
        texts = [_at(entry, "resource", field, "text") for field in ("medicationCodeableConcept", "code")]
        kind = _at(entry, "resource", "resourceType")
        found["orders"].append(next((cleaned(one) for one in [*texts, kind] if isinstance(one, str)), "an order"))
    return found


def _at(value: Any, *path: str | int) -> Any:
    """Return the value at a path in JSON; None where the path leads nowhere."""
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and len(value) > key else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _curl(call: KeptCall) -> tuple[str, str]:
    """Return the call as two shell commands.

    The first has the body in a file, the second in the command; the second is "" where the body is not JSON.
    """
    begin = f"curl -sS -H 'content-type: application/json' {shlex.quote(call.url)}"
    file = f"{begin} --data-binary @request.json"
    # No line of JSON can equal the end marker: JSON texts hold no line break.
    whole = (
        f"{begin} --data-binary @- <<'END_OF_REQUEST'\n{pretty(call.request)}\nEND_OF_REQUEST" if is_json(call.request) else ""
    )
    return file, whole
