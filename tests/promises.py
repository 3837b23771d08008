"""What the service does when something is missing: each line of the table of promised behaviours, as a row that can be tried.

A row says what comes, what is answered, what the alert log holds afterwards and which counter moves. `differs` names the decision
where the service does on purpose something else than the line says; that is what the row then expects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.runtime import Runtime
from cds_service.trust import Caller
from tests.core import NOW, Json, break_every_card
from tests.tokens import JKU, a_client, signed
from tests.trusting import NOW as TOKEN_TIME
from tests.trusting import Clock, KeyServer, Memory
from tests.unwritable_log import make_unwritable

BASE = "https://ehr.example/fhir"
SIGN = "/cds-services/cramp-care-order-sign"
QUININE = "order: quinine 300 mg, for leg cramps"
BACLOFEN = "order: RXNORM#197391 baclofen 10 MG Oral Tablet, dose 10 mg daily"
CRAMPS = "ICD10#R25.2 Cramp and spasm"
_ERROR = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
Answer = Callable[[httpx2.Request], Any]


@dataclass
class Site:
    """A running service, and what is around it."""

    runtime: Runtime
    client: httpx2.AsyncClient
    patch: pytest.MonkeyPatch
    asked: list[str]  # paths that its FHIR server was asked for
    was_asked: asyncio.Event
    memory: Memory  # of used tokens
    keys: KeyServer
    clock: Clock


Send = Callable[[Site], Awaitable[httpx2.Response]]
Arrange = Callable[[Site], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One promise. The alert log's columns are of its newest call; `logged` None: it holds none."""

    line: str  # the situation, in the words of the table
    then: str  # what is special about this row, "" for nothing
    request: Json | None = None
    send: Send | None = None  # where a row is more than one POST of `request`
    before: Callable[[Path], None] | None = None  # done before the service starts, with the folder of its log
    arrange: Arrange | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    fhir: Answer | None = None
    caller: Caller | None = None
    clients: tuple[Json, ...] = ()  # a registry, where callers are verified
    status: int = 200
    cards: tuple[str, ...] | None = None  # topics, for a 200 with cards
    says: tuple[str, ...] = ()  # in the notice, or in the OperationOutcome
    headers: dict[str, str] = field(default_factory=dict)
    logged: tuple[int, str] | None = None  # status and outcome of the call
    source: tuple[str, str, str] | None = None  # a key with its state and origin in the log
    decided: tuple[str, str] | None = None  # a card and its outcome in the log
    counted: tuple[str, dict[str, str]]  # a counter that moves by one
    differs: str = ""

    @property
    def name(self) -> str:
        return f"{self.line}: {self.then}" if self.then else self.line


def of(hook: str, *lines: str, **changes: Any) -> Json:
    """A request; a change of None takes a member out."""
    request = request_from_case(lines, hook, NOW) | changes
    return {name: value for name, value in request.items() if value is not None}


def signing(*lines: str, **changes: Any) -> Json:
    return of("order-sign", *lines, **changes)


def with_server(request: Json, **authorization: Any) -> Json:
    return request | {"fhirServer": BASE, "fhirAuthorization": {"access_token": "t0ken"} | authorization}


def changed(request: Json, key: str, **values: Any) -> Json:
    """With other members in the first resource of a prefetch key."""
    request["prefetch"][key]["entry"][0]["resource"] |= values
    return request


def foreign_order() -> Json:
    request = signing(QUININE)
    request["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/somebody-else"}
    return request


def with_next(request: Json, url: str) -> Json:
    request["prefetch"]["labs"]["link"] = [{"relation": "next", "url": url}]
    return request


# The EHR's FHIR server


def all_of(request: Json) -> Answer:
    """Has what `request` has in its prefetch."""
    kinds = {"Observation": "labs", "Condition": "problems", "MedicationRequest": "prescriptions"}

    def answer(asked: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=request["prefetch"][kinds[asked.url.path.rpartition("/")[2]]])

    return answer


def status(code: int) -> Answer:
    return lambda _: httpx2.Response(code)


async def slow(_: httpx2.Request) -> httpx2.Response:
    await asyncio.sleep(30)
    return httpx2.Response(500)


def endless(asked: httpx2.Request) -> httpx2.Response:
    """Pages without end, with nothing on them."""
    page = int(asked.url.params.get("page", "1"))
    link = [{"relation": "next", "url": f"{BASE}/Observation?page={page + 1}"}]
    return httpx2.Response(200, json={"resourceType": "Bundle", "type": "searchset", "link": link})


# What breaks


def broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("SECRET")


def one_card_breaks(site: Site) -> None:
    card = site.runtime.knowledge.card("baclofen-safety")
    assert card is not None
    from cds_service.decide import one_card

    real = one_card.judge_card
    site.patch.setattr(one_card, "judge_card", lambda one, *rest: (broken if one is card else real)(one, *rest))


def every_card_breaks(site: Site) -> None:
    break_every_card(site.patch)


def the_engine_breaks(site: Site) -> None:
    site.patch.setattr("cds_service.evaluate.judge", broken)


def no_log(path: Path) -> None:
    make_unwritable(path / "alerts.sqlite3")


def store_down(site: Site) -> None:
    site.memory.down = True


# More than one POST


def token(url: str = SIGN, **changes: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {signed(f'https://cds.example{url}', now=TOKEN_TIME, **changes)}"}


def posting(body: Json | bytes, path: str = SIGN, headers: Callable[[], dict[str, str]] = dict) -> Send:
    async def send(site: Site) -> httpx2.Response:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await site.client.post(path, headers=headers(), **content)

    return send


async def the_fourth_call(site: Site) -> httpx2.Response:
    """Three calls find that the server fails; the fourth does not ask it."""
    request = with_server(signing(QUININE, "source labs: absent"))
    for _ in range(3):
        await site.client.post(SIGN, json=request)
    site.asked.clear()
    answer = await site.client.post(SIGN, json=request)
    assert site.asked == []
    return answer


async def while_another_is_answered(site: Site) -> httpx2.Response:
    first = asyncio.create_task(site.client.post(SIGN, json=with_server(signing(QUININE, "source labs: absent"))))
    await site.was_asked.wait()
    answer = await site.client.post(SIGN, json=signing(QUININE))
    first.cancel()
    await asyncio.wait([first])
    return answer


async def with_a_known_key_and_no_key_server(site: Site) -> httpx2.Response:
    """23 hours after the key server was last heard."""
    site.keys.sets.clear()
    site.clock.passed = 23 * 3600
    headers = {"authorization": f"Bearer {signed(f'https://cds.example{SIGN}', now=site.clock.now())}"}
    return await site.client.post(SIGN, json=signing(QUININE), headers=headers)


async def with_an_unknown_key_and_no_key_server(site: Site) -> httpx2.Response:
    site.keys.sets.clear()
    return await site.client.post(SIGN, json=signing(QUININE), headers=token(kid="k2"))


FEEDBACK: Json = {
    "feedback": [
        {
            "card": "f6b95768-b1c8-40dc-8385-bf3504b82ffb",
            "outcome": "overridden",
            "outcomeTimestamp": "2025-12-01T10:05:31Z",
        }
    ]
}


async def discovering(site: Site) -> httpx2.Response:
    site.memory.down = True
    return await site.client.get("/cds-services")


# The rows, in the order of the table

ONCE = {"service": "cramp-care-order-sign"}
EARLY_PREGNANCY = of(
    "order-select", CRAMPS, "problem: ICD10#Z33.1 Pregnant state", "order: ibuprofen 400 mg tablet, for leg cramps"
)
_UNAVAILABLE = "Absent, no fhirAuthorization or fetch refused"
_UNUSABLE = "Datum stale, wrong unit, implausible, unparseable"
_TOKEN = "Bad or missing JWT, unknown issuer"

ROWS = [
    Row(
        line="Order not covered by any rule",
        then="",
        request=signing("order: amoxicillin 500 mg"),
        cards=(),
        logged=(200, "not_fired"),
        decided=("quinine-avoid", "not_fired"),
        counted=("cds_decisions_total", {"card": "quinine-avoid", "outcome": "not_fired"}),
        differs="0012: not_fired is the one word for every card that had nothing to say; the truth of its criteria tells more",
    ),
    Row(
        line="Checked, no issue",
        then="",
        request=signing(BACLOFEN, "LOINC#98979-8 eGFR 90 mL/min/{1.73_m2}"),
        cards=(),
        logged=(200, "not_fired"),
        decided=("baclofen-safety", "not_fired"),
        counted=("cds_decisions_total", {"card": "baclofen-safety", "outcome": "not_fired"}),
    ),
    Row(
        line="Required key absent, FHIR access allowed",
        then="",
        request=with_server(signing(BACLOFEN, CRAMPS, "source labs: absent")),
        fhir=all_of(signing(BACLOFEN, "LOINC#98979-8 eGFR 18 mL/min/{1.73_m2}")),
        cards=("baclofen-safety",),
        logged=(200, "fired"),
        source=("labs", "present", "fhir"),
        counted=("cds_fhir_fetches_total", {"outcome": "ok"}),
    ),
    Row(
        line=_UNAVAILABLE,
        then="412",
        request=signing(QUININE, "source labs: absent"),
        status=412,
        says=("`labs`",),
        logged=(412, "could_not_check"),
        source=("labs", "absent", "none"),
        counted=("cds_refused_total", {"status": "412"}),
    ),
    Row(
        line=_UNAVAILABLE,
        then="card",
        request=signing(BACLOFEN, "source labs: absent"),
        settings={"on_unavailable": "card"},
        cards=("not-checked",),
        says=("**baclofen order**: laboratory results: not sent.",),
        logged=(200, "could_not_check"),
        source=("labs", "absent", "none"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line=_UNAVAILABLE,
        then="the fetch is refused",
        request=with_server(signing(BACLOFEN, "source labs: absent")),
        fhir=status(403),
        cards=("not-checked",),
        says=("**baclofen order**: laboratory results: the FHIR server does not let this service read it (status 403).",),
        logged=(200, "could_not_check"),
        source=("labs", "error", "fhir"),
        counted=("cds_fhir_fetches_total", {"outcome": "forbidden"}),
        differs="0004: a fetch that fails is an error, not a 412, because the other keys still count",
    ),
    Row(
        line="Some rules have their data, others not",
        then="",
        request=signing(QUININE, BACLOFEN, "source labs: error"),
        cards=("quinine-avoid", "not-checked"),
        says=("**baclofen order**: ",),
        logged=(200, "fired"),
        decided=("baclofen-safety", "could_not_check"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line="Key null, or searchset complete and empty",
        then="null, nothing depends on it",
        request=signing(BACLOFEN, "LOINC#98979-8 eGFR 90 mL/min/{1.73_m2}", "source problems: null"),
        cards=(),
        logged=(200, "not_fired"),
        source=("problems", "empty", "prefetch"),
        counted=("cds_decisions_total", {"card": "baclofen-safety", "outcome": "not_fired"}),
    ),
    Row(
        line="Key null, or searchset complete and empty",
        then="empty, and the datum is essential",
        request=signing(BACLOFEN, "patient: 70 years", "source labs: empty"),
        cards=("not-checked",),
        says=("no eGFR or creatinine was found in the last 365 days",),
        logged=(200, "could_not_check"),
        source=("labs", "empty", "prefetch"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line="Key null, or searchset complete and empty",
        then="per rule, at order-sign only",
        request=EARLY_PREGNANCY,
        send=posting(EARLY_PREGNANCY, "/cds-services/cramp-care-order-select"),
        cards=(),
        logged=(200, "could_not_check"),
        decided=("otc-analgesic-caution", "could_not_check"),
        counted=("cds_decisions_total", {"card": "otc-analgesic-caution", "outcome": "could_not_check"}),
    ),
    Row(
        line="Key is OperationOutcome",
        then="",
        request=signing(BACLOFEN, "source labs: error"),
        cards=("not-checked",),
        says=("laboratory results: the EHR reported an error",),
        logged=(200, "could_not_check"),
        source=("labs", "error", "prefetch"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line="Bundle has next",
        then="may fire on what is seen",
        request=signing(BACLOFEN, "LOINC#98979-8 eGFR 18 mL/min/{1.73_m2}", "source labs: partial"),
        cards=("baclofen-safety", "not-checked"),
        logged=(200, "fired"),
        source=("labs", "partial", "prefetch"),
        counted=("cds_decisions_total", {"card": "baclofen-safety", "outcome": "fired"}),
    ),
    Row(
        line="Bundle has next",
        then="may not conclude that there is no issue",
        request=signing(BACLOFEN, "LOINC#98979-8 eGFR 90 mL/min/{1.73_m2}", "source labs: partial"),
        cards=("not-checked",),
        says=("**baclofen order**: laboratory results: there are more pages than were read",),
        logged=(200, "could_not_check"),
        source=("labs", "partial", "prefetch"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line="Bundle has next",
        then="at most five pages",
        request=with_server(with_next(signing(BACLOFEN, "LOINC#98979-8 eGFR 90 mL/min/{1.73_m2}"), f"{BASE}/Observation?page=2")),
        fhir=endless,
        cards=("not-checked",),
        says=("**baclofen order**: laboratory results: there are more pages than were read",),
        logged=(200, "could_not_check"),
        source=("labs", "partial", "prefetch"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line=_UNUSABLE,
        then="stale",
        request=signing(BACLOFEN, "patient: 70 years", "LOINC#98979-8 eGFR 18 mL/min/{1.73_m2} at 2023-03-01"),
        cards=("not-checked",),
        says=("no eGFR or creatinine was found in the last 365 days",),
        logged=(200, "could_not_check"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line=_UNUSABLE,
        then="wrong unit",
        request=signing(CRAMPS, "LOINC#2823-3 Potassium 2.4 furlong", "order: amoxicillin 500 mg"),
        cards=("not-checked",),
        says=("potassium of 2025-11-28 has a unit that is not known for it",),
        logged=(200, "could_not_check"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line=_UNUSABLE,
        then="implausible",
        request=signing(CRAMPS, "LOINC#2823-3 Potassium 24 mmol/L", "order: amoxicillin 500 mg"),
        cards=("not-checked",),
        says=("potassium of 2025-11-28 is outside the range of plausible values",),
        logged=(200, "could_not_check"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line=_UNUSABLE,
        then="unparseable",
        request=signing(CRAMPS, 'LOINC#2823-3 Potassium "about 2.4"', "order: amoxicillin 500 mg"),
        cards=("not-checked",),
        says=("potassium of 2025-11-28 can't be read as one number",),
        logged=(200, "could_not_check"),
        counted=("cds_not_checked_total", ONCE),
    ),
    Row(
        line="Subject mismatch in prefetch",
        then="",
        request=changed(
            signing(BACLOFEN, "LOINC#98979-8 eGFR 18 mL/min/{1.73_m2}"), "labs", subject={"reference": "Patient/somebody-else"}
        ),
        cards=("not-checked",),
        says=("laboratory results: it holds data of another patient",),
        logged=(200, "could_not_check"),
        source=("labs", "error", "prefetch"),
        counted=("cds_security_events_total", {"kind": "wrong_patient_data"}),
    ),
    Row(
        line="Subject mismatch in draftOrders",
        then="",
        request=foreign_order(),
        status=400,
        says=("`context.draftOrders`",),
        logged=(400, "wrong_patient"),
        counted=("cds_security_events_total", {"kind": "wrong_patient_order"}),
    ),
    Row(
        line="FHIR slow or down",
        then="a partial answer at the deadline",
        request=with_server(signing(QUININE, BACLOFEN, "source labs: absent")),
        fhir=slow,
        caller=Caller("ehr", deadline_ms=300),
        cards=("quinine-avoid", "not-checked"),
        says=("the FHIR server did not answer in time",),
        logged=(200, "fired"),
        source=("labs", "error", "fhir"),
        counted=("cds_fhir_fetches_total", {"outcome": "timeout"}),
    ),
    Row(
        line="FHIR slow or down",
        then="down, and the fourth call leaves it alone",
        send=the_fourth_call,
        fhir=status(500),
        cards=("quinine-avoid", "not-checked"),
        logged=(200, "fired"),
        source=("labs", "error", "fhir"),
        counted=("cds_fhir_breakers_total", {"event": "opened"}),
    ),
    Row(
        line="One rule crashes",
        then="",
        request=signing(QUININE, BACLOFEN),
        arrange=one_card_breaks,
        cards=("quinine-avoid", "not-checked"),
        says=("**baclofen order**: the check itself failed",),
        logged=(200, "fired"),
        decided=("baclofen-safety", "failed"),
        counted=("cds_evaluation_failures_total", {"card": "baclofen-safety"}),
    ),
    Row(
        line="All rules or the engine crash",
        then="500",
        request=signing(QUININE),
        arrange=the_engine_breaks,
        status=500,
        says=("nothing was checked",),
        logged=(500, "failed"),
        counted=("cds_engine_failures_total", {}),
    ),
    Row(
        line="All rules or the engine crash",
        then="card",
        request=signing(QUININE),
        arrange=the_engine_breaks,
        settings={"on_crash": "card"},
        cards=("not-checked",),
        says=("**quinine order**", "**baclofen order**", "the check itself failed"),
        logged=(200, "could_not_check"),
        decided=("quinine-avoid", "failed"),
        counted=("cds_engine_failures_total", {}),
    ),
    Row(
        line="All rules or the engine crash",
        then="one by one",
        request=signing(QUININE),
        arrange=every_card_breaks,
        status=500,
        says=("nothing was checked",),
        logged=(500, "failed"),
        counted=("cds_evaluation_failures_total", {"card": "quinine-avoid"}),
    ),
    Row(
        line="Log DB down",
        then="",
        request=signing(QUININE),
        settings={"database_url": "postgresql://127.0.0.1:1/none"},
        cards=("quinine-avoid",),
        logged=(200, "fired"),
        counted=("cds_log_records_total", {"outcome": "written"}),
        differs="0005: the local file is the log and the spool; no database stands between a call and its answer",
    ),
    Row(
        line="DB and spool unwritable",
        then="served from memory",
        request=signing(QUININE),
        before=no_log,
        cards=("quinine-avoid",),
        logged=(200, "fired"),  # once it can be written again
        counted=("cds_log_records_total", {"outcome": "written"}),
    ),
    Row(
        line="DB and spool unwritable",
        then="the log is required",
        request=signing(QUININE),
        before=no_log,
        settings={"log_required": True},
        status=503,
        says=("could not be logged",),
        logged=(503, "log_unavailable"),
        counted=("cds_refused_total", {"status": "503"}),
    ),
    Row(
        line="jti store down",
        then="cards from what this process remembers",
        send=posting(signing(QUININE), headers=token),
        clients=(a_client(),),
        arrange=store_down,
        cards=("quinine-avoid",),
        logged=(200, "fired"),
        counted=("cds_auth_degraded_total", {}),
    ),
    Row(
        line="jti store down",
        then="feedback is refused",
        send=posting(FEEDBACK, f"{SIGN}/feedback", lambda: token(f"{SIGN}/feedback")),
        clients=(a_client(),),
        arrange=store_down,
        status=503,
        says=("repeated requests can't be recognised",),
        counted=("cds_refused_total", {"status": "503"}),
    ),
    Row(
        line="jti store down",
        then="strict",
        send=posting(signing(QUININE), headers=token),
        clients=(a_client(),),
        arrange=store_down,
        settings={"replay_down": "refuse"},
        status=503,
        counted=("cds_auth_refused_total", {"reason": "replay_unknown"}),
    ),
    Row(
        line="JWKS unreachable",
        then="a known key",
        send=with_a_known_key_and_no_key_server,
        clients=(a_client(jwks=None, jku=JKU),),
        cards=("quinine-avoid",),
        logged=(200, "fired"),
        counted=("cds_calls_total", ONCE | {"status": "200"}),
    ),
    Row(
        line="JWKS unreachable",
        then="an unknown key",
        send=with_an_unknown_key_and_no_key_server,
        clients=(a_client(jwks=None, jku=JKU),),
        status=401,
        counted=("cds_auth_refused_total", {"reason": "key"}),
    ),
    Row(
        line=_TOKEN,
        then="missing",
        send=posting(signing(QUININE)),
        clients=(a_client(),),
        status=401,
        counted=("cds_auth_refused_total", {"reason": "no_token"}),
    ),
    Row(
        line=_TOKEN,
        then="bad",
        send=posting(signing(QUININE), headers=lambda: {"authorization": "Bearer x.y.z"}),
        clients=(a_client(),),
        status=401,
        counted=("cds_auth_refused_total", {"reason": "not_a_token"}),
    ),
    Row(
        line=_TOKEN,
        then="unknown issuer",
        send=posting(signing(QUININE), headers=lambda: token(iss="https://nobody.example")),
        clients=(a_client(),),
        status=401,
        counted=("cds_auth_refused_total", {"reason": "issuer"}),
    ),
    Row(
        line=_TOKEN,
        then="the dev profile without a registry answers anybody",
        request=signing(QUININE),
        cards=("quinine-avoid",),
        logged=(200, "fired"),
        counted=("cds_calls_total", ONCE | {"status": "200"}),
    ),
    Row(
        line="Malformed or invalid CDS Hooks JSON",
        then="no JSON",
        send=posting(b'{"hook": "order-sign", "secret'),
        status=400,
        counted=("cds_refused_total", {"status": "400"}),
        differs="0012: refused before there is a patient to log it for; counted, and a line of the service's own log",
    ),
    Row(
        line="Malformed or invalid CDS Hooks JSON",
        then="invalid",
        send=posting(signing(QUININE, hookInstance=["secret"])),
        status=400,
        says=("hookInstance",),
        counted=("cds_refused_total", {"status": "400"}),
        differs="0012, as above",
    ),
    Row(
        line="Unknown service id",
        then="",
        send=posting(signing(QUININE), "/cds-services/secret"),
        status=404,
        says=("GET /cds-services",),
        counted=("cds_refused_total", {"status": "404"}),
        differs="0012, as above",
    ),
    Row(
        line="Overload",
        then="",
        send=while_another_is_answered,
        fhir=slow,
        settings={"max_calls": 1},
        status=503,
        says=("try again",),
        headers={"retry-after": "1"},
        counted=("cds_shed_total", {"reason": "calls"}),
    ),
    Row(
        line="Feedback for unknown card uuid",
        then="",
        send=posting(FEEDBACK, f"{SIGN}/feedback"),
        counted=("cds_log_records_total", {"outcome": "written"}),
    ),
    Row(
        line="Discovery",
        then="with neither log nor store",
        send=discovering,
        before=no_log,
        clients=(a_client(),),
        counted=("", {}),
    ),
]
