"""Name the columns of an export, with what each means: the documentation is made from here."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["text", "time", "number", "json"]


class Column(NamedTuple):
    """A column of CSV and Parquet. A time is ISO 8601 in UTC in CSV; JSON stands as text in a cell."""

    name: str
    kind: Kind
    meaning: str


# The six of US regulation 45 CFR 170.315(b)(11)(ii)(C) (ASTP's HTI-1 rule), in its order.
FEEDBACK_COLUMNS = (
    Column("intervention", "text", "the card and its version"),
    Column("actionTaken", "text", "what the clinician did: accepted, overridden, or none where no feedback came"),
    Column("userFeedback", "text", "the reason of an override, and how long a comment was; comments themselves are sealed"),
    Column("user", "text", "keyed hash of the clinician's id"),
    Column("date", "time", "when the call was received"),
    Column("location", "text", "the EHR (client) of the call: CDS Hooks does not say where in the hospital"),
)
_CALL_COLUMNS = (
    Column("receivedAt", "time", "when the call was received"),
    Column("call", "text", "id of the call"),
    Column("service", "text", "CDS Hooks service that was called"),
    Column("hook", "text", "its hook"),
    Column("hookInstance", "text", "the EHR's id of the hook's occasion"),
    Column("client", "text", "registered EHR, or issuer of its token"),
    Column("tenant", "text", "tenant of the call"),
    Column("patientKey", "text", "keyed hash of the patient's id"),
    Column("userKey", "text", "keyed hash of the clinician's id"),
    Column("encounterKey", "text", "keyed hash of the encounter's id"),
)
_KNOWLEDGE_COLUMNS = (
    Column("serviceVersion", "text", "version of the program"),
    Column("knowledgeHash", "text", "hash of all cards, value sets and overlays together"),
    Column("jurisdiction", "text", "whose codes and units are known"),
    Column("dialect", "text", "kind of EHR that was answered"),
    Column("degraded", "text", "what did not work then, empty for nothing"),
)
CARD_COLUMNS = (
    *_CALL_COLUMNS,
    Column("cardUuid", "text", "uuid of the card as the EHR got it"),
    Column("cardId", "text", "the card"),
    Column("version", "text", "version of the card"),
    Column("contentHash", "text", "hash of the card's file"),
    Column("indicator", "text", "info, warning or critical"),
    Column("mode", "text", "live, or shadow for a card that is evaluated and never shown"),
    Column("orderKey", "text", "keyed hash of the order that the card is about, empty for none"),
    Column("about", "text", "the subject by which repeats are recognised"),
    Column(
        "evidence", "json", "the data that were used: value, unit, time, code, path; null where they were deleted or are none"
    ),
    Column("missing", "json", "what was unknown and mattered, and why; null likewise"),
    Column("feedback", "json", "all feedback, in the order received; it stands at the newest shown card with its uuid"),
    *_KNOWLEDGE_COLUMNS,
    Column("state", "text", "shown; repeated, gave_way or capped where it was held back; withdrawn where the response was"),
    Column("tableRow", "number", "row of the card's table that was chosen, from 0; -1 for a card without table"),
    Column("response", "text", "what the newest feedback to this uuid says: accepted, overridden, or none"),
    Column("reason", "text", "code of the override reason"),
    Column("tookMs", "number", "how long the caller waited, in milliseconds"),
    Column("nth", "number", "which evaluation of its card in the call, from 1: /review/cases/{call}/{cardId}/{nth}"),
    Column("verdicts", "json", "what reviewers found: verdict, response, cause, harm, in the order given"),
)
EVALUATION_COLUMNS = (
    *_CALL_COLUMNS,
    Column("cardId", "text", "the card that was evaluated"),
    Column("version", "text", "version of the card"),
    Column("contentHash", "text", "first 16 digits of the hash of the card's file"),
    Column("nth", "number", "which evaluation of its card in the call, from 1: /review/cases/{call}/{cardId}/{nth}"),
    Column("outcome", "text", "fired, not_fired, not_applicable, could_not_check, failed, repeated, gave_way, capped"),
    Column("applies", "text", "yes, or no where the card was about an order of which there was none"),
    Column("orderKey", "text", "keyed hash of the order, empty where the card is about the patient"),
    Column("tableRow", "number", "row of the card's table that was chosen, from 0; -1 for none"),
    Column("gaveWayTo", "text", "the card that said the same and was shown in its place"),
    Column("why", "text", "why it could not be checked, or failed"),
    Column("evidence", "json", "the data that were used; null for an evaluation that did not fire"),
    Column("missing", "json", "what was unknown and mattered, and why"),
    *_KNOWLEDGE_COLUMNS,
    Column("verdicts", "json", "what reviewers found: verdict, response, cause, harm, in the order given"),
)
