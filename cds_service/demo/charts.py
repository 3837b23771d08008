"""Make up patients: ordinary charts, and those of the cards' cases and the samples, in the shorthand of cases."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from random import Random

import msgspec

from cds_service.authoring.cases import CaseFile, Fires, load_cases
from cds_service.authoring.samples import load_samples
from cds_service.authoring.shorthand import Line
from cds_service.demo.clients import Quality
from cds_service.files.paths import cards_dir, fixtures_dir
from cds_service.knowledge.knowledge import Knowledge

_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
_OTHER_STORIES = 0.3  # share of stories from cases in which the card stays silent
_STALE_DAYS = 300  # age of the newest results of a stale chart
_LOW_RESULT = 0.05  # share of ordinary charts with a low potassium or magnesium that nobody has noticed
_EARLIER = 3  # earlier results of an analyte in a chart, at most
_ELECTROLYTES = ("2823-3", "19123-9")
_CRAMPS = 0.1  # share of ordinary charts with cramps on the problem list


class Chart(msgspec.Struct, frozen=True):
    """A patient's chart as lines of case shorthand, whose dates hold at `at`."""

    at: datetime
    given: tuple[str, ...]
    orders: tuple[str, ...] = ()  # drafts that belong to the story

    def renewed(self, at: datetime) -> Chart:
        """Return the chart with the same findings, all of them recorded as much later as `at` is."""
        return Chart(at, _moved(self.given, at - self.at), self.orders)


# Normal results: LOINC code and name, unit, lowest and highest, decimals.
_RESULTS = (
    ("2823-3 Potassium", "mmol/L", 3.6, 5.0, 1),
    ("19123-9 Magnesium", "mg/dL", 1.8, 2.4, 1),
    ("98979-8 eGFR", "mL/min/{1.73_m2}", 62, 110, 0),
    ("17861-6 Calcium", "mg/dL", 8.7, 10.1, 1),
    ("2951-2 Sodium", "mmol/L", 136, 144, 0),
    ("777-3 Platelets", "10*3/uL", 160, 380, 0),
    ("1742-6 Alanine aminotransferase", "U/L", 9, 45, 0),
    ("718-7 Hemoglobin", "g/dL", 12.1, 16.0, 1),
)
_PROBLEMS = (
    "ICD10#I10 Essential (primary) hypertension",
    "ICD10#E11.9 Type 2 diabetes mellitus",
    "ICD10#E78.5 Hyperlipidemia",
    "ICD10#J45.909 Asthma",
    "ICD10#M17.9 Osteoarthritis of knee",
    "ICD10#K21.9 Gastro-esophageal reflux disease",
    "ICD10#J32.9 Chronic sinusitis",
)
_DRUGS = (
    "RXNORM#197361 amlodipine 5 MG Oral Tablet",
    "RXNORM#860975 metformin hydrochloride 500 MG Extended Release Oral Tablet",
    "RXNORM#617310 atorvastatin 20 MG Oral Tablet",
    "RXNORM#314076 lisinopril 10 MG Oral Tablet",
    "RXNORM#310798 hydrochlorothiazide 25 MG Oral Tablet",
    "RXNORM#1014676 cetirizine hydrochloride 5 MG Oral Tablet",
    "RXNORM#313782 acetaminophen 325 MG Oral Tablet",
    "takes: omeprazole 20 mg capsule",
)
_ORDERS = (
    "order: RXNORM#308192 amoxicillin 500 MG Oral Tablet, dose 500 mg TID",
    "order: RXNORM#860975 metformin hydrochloride 500 MG Extended Release Oral Tablet, dose 500 mg daily",
    "order: RXNORM#314076 lisinopril 10 MG Oral Tablet, dose 10 mg daily",
    "order: RXNORM#310798 hydrochlorothiazide 25 MG Oral Tablet, dose 25 mg daily",
    "order: RXNORM#197361 amlodipine 5 MG Oral Tablet, dose 5 mg daily",
    "order: ibuprofen 400 mg tablet, dose 400 mg TID",
)
QUININE = "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, dose 324 mg nightly"
_QUININE_FOR_MALARIA = "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, dose 648 mg TID"


class Stories:
    """The patients of the cards' cases and of the samples; their texts are for people who know what a card should do."""

    def __init__(self, knowledge: Knowledge) -> None:
        """Read the cases of `cards/` and the samples of `fixtures/`. Raises KnowledgeError."""
        cases = [one for one in load_cases(cards_dir(), knowledge) if one.file.jurisdiction == "US"]
        self._firing = _by_card((one.card.id, one.file) for one in cases if isinstance(one.file.expect, Fires))
        self._other = _by_card((one.card.id, one.file) for one in cases if not isinstance(one.file.expect, Fires))
        self._samples = list(load_samples(fixtures_dir()).values())

    def chart(self, at: datetime, random: Random, *, with_order: bool) -> Chart:
        """Return the chart of a story as it would be at `at`; every card has the same chance. Quinine has its own charts."""
        while True:
            if random.random() < 1 / 12:
                sample = random.choice(self._samples)
                lines = _texts((*sample.given, *sample.orders))
            else:
                case = random.choice(random.choice(self._other if random.random() < _OTHER_STORIES else self._firing))
                lines = _moved(_texts(case.given), at - case.now)
            orders = tuple(one for one in lines if one.startswith("order:"))
            if (orders or not with_order) and not any("quinine" in one.lower() for one in orders):
                return Chart(at, tuple(one for one in lines if one not in orders), orders)


def _by_card(cases: Iterable[tuple[str, CaseFile]]) -> list[list[CaseFile]]:
    found: dict[str, list[CaseFile]] = {}
    for card, case in cases:
        found.setdefault(card, []).append(case)
    return list(found.values())


def _texts(lines: Iterable[Line]) -> tuple[str, ...]:
    """Return lines as texts; YAML reads `patient: female` as a mapping of one key."""
    return tuple(one if isinstance(one, str) else "".join(f"{key}: {value}" for key, value in one.items()) for one in lines)


def _moved(lines: Iterable[str], later: timedelta) -> tuple[str, ...]:
    """Return the lines with their absolute dates moved by the whole days of `later`."""

    def moved(found: re.Match[str]) -> str:
        try:
            return (date.fromisoformat(found[0]) + timedelta(days=later.days)).isoformat()
        except ValueError:  # a case may hold a day that no calendar has
            return found[0]

    return tuple(_DATE.sub(moved, line) for line in lines)


def ordinary_chart(at: datetime, quality: Quality, random: Random) -> Chart:
    """Return the chart of a patient as most are: adult, ordinary results and drugs."""
    age = random.randint(1, _STALE_DAYS // 20) if random.random() >= quality.stale else random.randint(_STALE_DAYS, 500)
    lines = [_person(random, 24, 88)]
    for name, unit, lowest, highest, decimals in random.sample(_RESULTS, random.randint(3, len(_RESULTS))):
        low = name.startswith(_ELECTROLYTES) and random.random() < _LOW_RESULT
        newest = random.uniform(lowest * 0.62, lowest * 0.97) if low else random.uniform(lowest, highest)
        earlier = [(random.uniform(lowest, highest), age + random.randint(20, 900)) for _ in range(random.randint(0, _EARLIER))]
        lines += [
            f"LOINC#{name} {value:.{decimals}f} {unit} at {(at - timedelta(days=days)).date()}"
            for value, days in ((newest, age), *earlier)
        ]
    lines += random.sample(_PROBLEMS, random.randint(0, 3))
    lines += [f"{drug}, since {random.randint(1, 40)} months ago" for drug in random.sample(_DRUGS, random.randint(0, 4))]
    if random.random() < _CRAMPS:
        lines.append(f"ICD10#R25.2 Cramp and spasm, onset {random.randint(1, 30)} months ago")
    return Chart(at, tuple(lines))


def ordinary_order(random: Random) -> str:
    """Return the line of a draft order about which there is mostly nothing to say."""
    return random.choice(_ORDERS)


def cramps_chart(at: datetime, random: Random) -> Chart:
    """Return the chart of a patient who is to get quinine for cramps; now and then something forbids it."""
    lines = [
        _person(random, 48, 90),
        f"ICD10#G47.62 Sleep related leg cramps, onset {random.randint(2, 30)} months ago",
        f"LOINC#2823-3 Potassium {random.uniform(3.7, 4.8):.1f} mmol/L at {random.randint(1, 20)} days ago",
        f"LOINC#777-3 Platelets {random.randint(165, 340)} 10*3/uL at {random.randint(1, 20)} days ago",
        *random.sample(_DRUGS, random.randint(0, 3)),
    ]
    if random.random() < 0.12:
        lines.append("ICD10#I45.81 Long QT syndrome")
    return Chart(at, tuple(lines), (f"{QUININE}, for leg cramps",))


def malaria_chart(at: datetime, random: Random) -> Chart:
    """Return the chart of a traveller with malaria, some weeks after it was recorded, who is to get quinine for it."""
    lines = (
        _person(random, 19, 70),
        f"ICD10#B50.9 Plasmodium falciparum malaria, onset {random.randint(2, 9)} weeks ago",
        f"LOINC#2823-3 Potassium {random.uniform(3.7, 4.8):.1f} mmol/L at {random.randint(1, 6)} days ago",
        f"LOINC#777-3 Platelets {random.randint(170, 290)} 10*3/uL at {random.randint(1, 6)} days ago",
        *random.sample(_PROBLEMS, random.randint(0, 1)),
    )
    return Chart(at, lines, (f"{_QUININE_FOR_MALARIA}, for malaria",))


def _person(random: Random, youngest: int, oldest: int) -> str:
    return f"patient: {random.choice(('female', 'male'))}, {random.randint(youngest, oldest)} years"
