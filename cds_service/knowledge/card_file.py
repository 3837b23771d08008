"""Define the structure of a card file (`cards/<id>/card.yaml`) and of the shared files."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec

from cds_service.criteria.kinds import Criterion

Hook = Literal["patient-view", "order-select", "order-sign"]
Indicator = Literal["info", "warning", "critical"]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Policy = Literal["say_so", "stay_silent", "carry_on"]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping in a knowledge file; an unknown key is an error."""


class Row(File, frozen=True, kw_only=True):
    """One row of a card's table; the first row that holds gives the indicator and the summary."""

    when: list[str] = []
    unless: list[str] = []
    indicator: Indicator
    summary: Annotated[str, msgspec.Meta(min_length=1, max_length=139)]
    source: list[str] = []
    quoted: list[str] = []  # numbers that a source gives: they stay where a criterion with the same number changes


class Paragraph(File, frozen=True, kw_only=True):
    """One paragraph of the detail (Markdown), shown where all of `when` are met and all of `unless` are unmet."""

    text: Text
    when: list[str] = []
    unless: list[str] = []
    quoted: list[str] = []
    same_line: bool = False  # follows the shown paragraph before it on the same line, where there is one


class Passage(File, frozen=True, kw_only=True):
    """A paragraph (Markdown) for the card's own page only, with its sources."""

    text: Text
    source: Annotated[list[str], msgspec.Meta(min_length=1)]  # of the card's sources, or engineering
    quoted: list[str] = []


class ActionFile(File, frozen=True, kw_only=True):
    """An action of a suggestion.

    create: a resource of orders.yaml; delete: the order that the card is about; update: that order with the fields of the
    resource.
    """

    type: Literal["create", "delete", "update"]
    description: Text
    resource: str = ""


class SuggestionFile(File, frozen=True, kw_only=True):
    id: Text
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    actions: Annotated[list[ActionFile], msgspec.Meta(min_length=1)]
    recommended: bool = False
    when: list[str] = []
    unless: list[str] = []
    quoted: list[str] = []


class NotCheckedFile(File, frozen=True, kw_only=True):
    """Criteria under which the card could not check its subject, although all data arrived."""

    when: Annotated[list[str], msgspec.Meta(min_length=1)]
    because: Text


class Repeat(File, frozen=True, kw_only=True):
    """The repeat rule: not shown again for so many days for the same patient, unless it is about something new."""

    after_days: Annotated[int, msgspec.Meta(ge=1)]
    about: list[str] = []  # criteria whose evidence the card is about; a new drug among them shows the card again


class Change(File, frozen=True, kw_only=True):
    """One entry of a card's history: what a version changed, who is affected, since when, and the sources."""

    version: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]
    since: date
    what: Text
    affects: Text  # which patients or orders see a difference
    source: Annotated[list[str], msgspec.Meta(min_length=1)]  # ids of cards/sources.yaml, or engineering


class Length(File, frozen=True, kw_only=True):
    """The limit on the longest card in the EHR, summary and detail together."""

    characters: Annotated[int, msgspec.Meta(ge=100)] = 700
    lines: Annotated[int, msgspec.Meta(ge=0)] = 0  # of the detail; 0 for any number


class CardFile(File, frozen=True, kw_only=True):
    id: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{2,99}$")]
    version: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]
    status: Literal["draft", "active", "retired"]
    title: Text
    owner: Text
    reviewed_on: date | None = None
    review_due: date | None = None
    why: Text
    known_gaps: Annotated[list[str], msgspec.Meta(min_length=1)]
    hooks: Annotated[list[Hook], msgspec.Meta(min_length=1)]
    checks: Text  # for the notice: what was not checked where the card could not decide, for example "quinine order"
    subjects: Annotated[list[str], msgspec.Meta(min_length=1)]  # at most one card per subject is shown
    gives_way_to: list[str] = []  # subjects
    gives_way_to_warnings: list[str] = []  # subjects, where the card about them is a warning or critical
    rank: int  # position in the response and when giving way, lowest first
    repeat: Repeat | None = None
    for_each: str = ""  # an order criterion: the card is decided for each order that meets it
    criteria: dict[str, Criterion] = {}
    fire_when: list[str] = []
    unless: list[str] = []
    on_unknown: dict[str, Policy] = {}  # data missing or unreadable; default say_so
    on_missing: dict[str, Policy] = {}  # complete data, nothing recorded; default carry_on
    notice_when: list[str] = []  # a notice about unreadable data only where one of these is met; always where empty
    chart_notice_when: list[str] = []  # the same at patient-view, and for a possibly alarming result; never where empty
    not_checked: list[NotCheckedFile] = []
    table: Annotated[list[Row], msgspec.Meta(min_length=1)]
    detail: Annotated[list[Paragraph], msgspec.Meta(min_length=1)]
    page: list[Passage] = []
    length: Length = Length()
    suggestions: list[SuggestionFile] = []
    selection: Literal["any", "at-most-one"] = "any"
    overrides: Annotated[list[str], msgspec.Meta(min_length=1)]
    sources: Annotated[list[str], msgspec.Meta(min_length=1)]
    links: Annotated[list[str], msgspec.Meta(min_length=1)]  # sources shown as links; the first is the source of the card
    history: list[Change] = []  # newest first


class SourceFile(File, frozen=True, kw_only=True):
    """One citation of cards/sources.yaml."""

    title: Text
    url: str = ""  # of the publication itself; shown as a link of the card
    says: Text
    read: Text  # which part of it was read: a quotation is not the original
    read_on: date | None = None


class OverrideFile(File, frozen=True, kw_only=True):
    display: Text


class ServiceFile(File, frozen=True, kw_only=True):
    id: Text
    hook: Hook
    title: Text
    description: Text


class ServicesFile(File, frozen=True, kw_only=True):
    services: list[ServiceFile]
    prefetch: dict[str, str]
    include: dict[str, str] = {}  # appended to the template of a key for an EHR that supports `_include`
    usage_requirements: Text


class NoticeFile(File, frozen=True, kw_only=True):
    """The texts of the notice about what could not be checked."""

    title: Text
    url: Text
    summary: Text  # {checks}: what was not checked
    detail: Text
    item: Text  # {checks}, {reason}
    failed: Text


class LabelsFile(File, frozen=True, kw_only=True):
    """The labels that every card uses."""

    source_label: Text
    topic_system: Text
    override_system: Text
    not_known: Text
    ignored_result: Text
    page_label: Text  # of the link to the card's own page
    most_cards: Annotated[int, msgspec.Meta(ge=1)]  # in one response, the notice not counted; the first ranks stay


class CodingFile(File, frozen=True, kw_only=True):
    system: Text
    code: Text
    display: str = ""


class DialectFile(File, frozen=True, kw_only=True):
    """The differences of one EHR from plain CDS Hooks; `dialects` applies them."""

    about: Text
    sources: list[SourceFile] = []
    hooks: Annotated[list[Hook], msgspec.Meta(min_length=1)]  # at which it calls
    summary_limit: Annotated[int, msgspec.Meta(ge=40, le=139)] = 139  # characters; a cut summary is whole in the detail
    topic_limit: Annotated[int, msgspec.Meta(ge=1)] = 100  # characters of a topic code
    topic_drops: str = ""  # characters that a topic code must not contain
    any_only: bool = False  # it knows only the selectionBehavior `any`
    one_action: bool = False  # per suggestion
    medication_first: bool = False  # it applies only the first action, where that has a medication
    creates: list[Text] | None = None  # types of resources that it creates; null: all
    updates: list[Text] | None = None  # types of resources that it changes; null: all
    deletes: bool = True
    code_systems: dict[str, Text] | None = None  # system in orders.yaml → its name there; a created order needs a code of one
    codes: dict[str, CodingFile] = {}  # "system|code" of orders.yaml → the code to order by at this site


Resource = dict[str, Any]
