"""Find one case in the log: an evaluation of a card in a call, with what belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cds_service.alert_log import CallBody, read_body
from cds_service.alert_log.compression import CompressionError
from cds_service.database import Database
from cds_service.decide.decision import Outcome
from cds_service.review.verdicts import CaseId

Row = dict[str, Any]

TRUTHS = "*"  # stands in place of a card in the rows of a body that hold the truths of criteria
FIRED = (Outcome.FIRED, Outcome.REPEATED, Outcome.GAVE_WAY, Outcome.CAPPED)


class Case(msgspec.Struct, frozen=True):
    """One case as the log holds it.

    `evaluation` is None for the notice, which is a card without an evaluation; `card` is None for an evaluation that drew none.
    """

    id: CaseId
    call: Row  # of log.call
    body: CallBody
    evaluation: Row | None  # of the body
    of: int  # evaluations of the card in the call
    card: Row | None  # of log.card
    drawn: msgspec.Raw | None  # the card's JSON
    withdrawn: bool  # the response was held back

    @property
    def order_key(self) -> str:
        """Return the keyed hash of the order that the case is about; "" where it is about the patient."""
        return str(self.evaluation.get("order_key", "")) if self.evaluation is not None else ""

    @property
    def outcome(self) -> str:
        """Return the outcome of the evaluation; "fired" for the notice."""
        return str(self.evaluation["outcome"]) if self.evaluation is not None else Outcome.FIRED


class CaseNotFoundError(LookupError):
    """Raised where the log holds no such case. The text is for the reader."""


def find_case(database: Database, call: str, card: str, nth: int) -> Case:
    """Return a case by the hex id of its call, its card and its number from 1. Raises CaseNotFoundError."""
    row = find_call(database, call)
    body = body_of(database, row)
    evaluations = [one for one in body.evaluations if one["card"] == card]
    cards = cards_of(database, row, card)
    if nth < 1 or nth > max(len(evaluations), 1 if cards else 0):
        raise CaseNotFoundError(f"The call has no evaluation {nth} of {card}")
    evaluation = evaluations[nth - 1] if evaluations else None
    drawn = _card_of(evaluations, nth, cards)
    withdrawal = "SELECT 1 AS one FROM log.withdrawal WHERE received_at = :at AND call_id = :id"
    return Case(
        id=CaseId(bytes(row["id"]), row["received_at"], card, nth),
        call=row,
        body=body,
        evaluation=evaluation,
        of=max(len(evaluations), 1),
        card=drawn,
        drawn=body.cards[drawn["position"]] if drawn is not None and drawn["position"] < len(body.cards) else None,
        withdrawn=database.one(withdrawal, at=row["received_at"], id=row["id"]) is not None,
    )


def body_of(database: Database, call: Row) -> CallBody:
    """Return the body of a call. Raises CaseNotFoundError where it was deleted, is damaged or of a newer program."""
    try:
        body = read_body(database, call)
    except (CompressionError, msgspec.DecodeError, ValueError):
        raise CaseNotFoundError("The evidence of this call can't be read: damaged, or written by a newer program") from None
    if body is None:
        raise CaseNotFoundError("The evidence of this call has been deleted: it was older than the site keeps it")
    return body


def find_call(database: Database, call: str) -> Row:
    """Return the row of a call by its hex id; of a repeat that of the call that it repeats. Raises CaseNotFoundError."""
    row = _call_row(database, call)
    if row is not None and row["repeat_of"] is not None:
        row = _call_row(database, bytes(row["repeat_of"]).hex())
    if row is None:
        raise CaseNotFoundError("The log has no such call")
    return row


def evaluated_cards(database: Database, call: Row) -> list[str]:
    """Return the cards that were evaluated in a call, in their order; none where its body was deleted or can't be read."""
    try:
        body = body_of(database, call)
    except CaseNotFoundError:
        return []  # the page of that call says why
    return list(dict.fromkeys(one["card"] for one in body.evaluations if one["card"] != TRUTHS))


def _call_row(database: Database, call: str) -> Row | None:
    try:
        id_ = bytes.fromhex(call)
    except ValueError:
        return None
    if len(id_) != 16:
        return None
    start = int.from_bytes(id_[:6], "big") * 1000  # UUIDv7 (RFC 9562): the id begins with the ms of its receipt
    sql = "SELECT * FROM log.call WHERE received_at >= :start AND received_at < :end AND id = :id"
    return database.one(sql, start=start, end=start + 1000, id=id_)


def cards_of(database: Database, call: Row, card: str) -> list[Row]:
    """Return the rows of a card that fired in a call, in the order of its response."""
    sql = "SELECT * FROM log.card WHERE received_at = :at AND call_id = :call AND card = :card ORDER BY position"
    return database.rows(sql, at=call["received_at"], call=call["id"], card=database.names.id(card) or 0)


def nth_of_card(evaluations: Sequence[Row], cards: Sequence[Row], position: int) -> int:
    """Return which evaluation drew the card at `position`, from 1; 1 for the notice.

    `evaluations`: of the card in the body; `cards`: its rows. Joined by the order; two equal orders in their sequence.
    """
    row = next(one for one in cards if one["position"] == position)
    before = sum(one["order_key"] == row["order_key"] and one["position"] < position for one in cards)
    alike = [place for place, one in enumerate(evaluations, 1) if _fired(one) and same_order(one, row)]
    return alike[before] if before < len(alike) else 1


def nth_of_outcome(evaluations: Sequence[Row], outcomes: Iterable[str], which: int) -> int | None:
    """Return which evaluation is the `which`th (from 0) of those with an outcome, from 1; None where there are fewer.

    Evaluations that did not apply are left out, as in the plan's strata.
    """
    wanted = set(outcomes)
    alike = [place for place, one in enumerate(evaluations, 1) if one["outcome"] in wanted and one.get("applies", True)]
    return alike[which] if which < len(alike) else None


def _card_of(evaluations: Sequence[Row], nth: int, cards: Sequence[Row]) -> Row | None:
    """Return the card that the evaluation drew."""
    if not evaluations:
        return cards[0]
    return next(
        (row for row in cards if nth_of_card(evaluations, cards, row["position"]) == nth and _fired(evaluations[nth - 1])), None
    )


def _fired(evaluation: Row) -> bool:
    return evaluation["outcome"] in FIRED


def same_order(evaluation: Row, card: Row) -> bool:
    """Return whether an evaluation and a card's row are about the same order, or both about none."""
    key = bytes(card["order_key"]).hex() if card["order_key"] is not None else ""
    return str(evaluation.get("order_key", "")).rpartition(":")[2] == key


def feedback_of(database: Database, card: Row) -> list[Row]:
    """Return every item of feedback about a card from the caller that got it, the one that counts first."""
    sql = """SELECT * FROM log.feedback WHERE card_uuid = :uuid AND tenant = :tenant AND client = :client
        ORDER BY coalesce(outcome_at, received_at) DESC, received_at DESC, id DESC"""
    return database.rows(sql, uuid=card["uuid"], tenant=card["tenant"], client=card["client"])
