"""Define the kinds of token in a dosage text, and the words of each.

English and Latin, because sites are in the US and GB. A text with a German or French word is unknown, and so is one with a word
that changes a dose ("increase", "per kg", "repeat", "via pump").
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum, auto

import msgspec


class Kind(StrEnum):
    """The kinds of token; in brackets the meaning of `value`."""

    NUMBER = auto()  # [the number, of a range its upper end]
    MASS = auto()  # a unit [mg in it]
    FORM = auto()  # tablets, capsules
    MILLILITRES = auto()
    CONCENTRATION = auto()  # [mg/mL]
    AMOUNT = auto()  # a number with its unit, made of tokens in `sig_amounts`
    COUNT = auto()  # doses per day [of a range the most]
    TIME_OF_DAY = auto()
    DAY = auto()  # "daily": how often
    PER_DAY = auto()  # "/day": what an amount is for
    PERIOD = auto()  # not every day
    SCHEME = auto()  # 1-0-1 [the sum]
    DIVIDED = auto()  # the amount is the day's
    MAX = auto()
    THEN = auto()
    AND = auto()
    OR = auto()
    TO = auto()
    TIMES = auto()  # x
    COMMA = auto()
    SLASH = auto()
    OPEN = auto()
    CLOSE = auto()
    WORD = auto()  # any other word
    SKIPPED = auto()  # irrelevant for the dose
    UNCERTAIN = auto()  # makes every dose in the text uncertain


class Token(msgspec.Struct, frozen=True, gc=False):
    """One word or number."""

    kind: Kind
    value: Decimal = Decimal(0)
    # TIME_OF_DAY: "morning" or "08:00"; AMOUNT: its unit; MAX: "daily" where that is said; SCHEME: "small" with no part above 4
    name: str = ""
    aside: bool = False  # stood in parentheses


MG_PER_UNIT = {
    **dict.fromkeys(("mg", "mgs", "milligram", "milligrams"), Decimal(1)),
    **dict.fromkeys(("g", "gm", "gram", "grams"), Decimal(1000)),
    **dict.fromkeys(("mcg", "ug", "microgram", "micrograms"), Decimal("0.001")),
}
FORMS = "tablet tablets tab tabs tabl tbl tbls caplet caplets capsule capsules cap caps pill pills"
_WORDS = {
    Token(Kind.COUNT, Decimal(1)): "qd od qday",
    Token(Kind.COUNT, Decimal(2)): "bid bd bds",
    Token(Kind.COUNT, Decimal(3)): "tid tds",
    Token(Kind.COUNT, Decimal(4)): "qid qds",
    Token(Kind.TIME_OF_DAY, name="morning"): "morning mornings mane qam am om breakfast morn",
    Token(Kind.TIME_OF_DAY, name="noon"): "noon midday lunch lunchtime",
    Token(Kind.TIME_OF_DAY, name="afternoon"): "afternoon afternoons qpm",
    Token(Kind.TIME_OF_DAY, name="evening"): "evening evenings pm eve dinner supper teatime",
    Token(Kind.TIME_OF_DAY, name="night"): "night nights nightly nocte bedtime bed qhs hs qn",
    Token(Kind.FORM): FORMS,
    Token(Kind.MILLILITRES): "ml mls milliliter milliliters millilitre millilitres",
    Token(Kind.DAY): "daily",
    Token(Kind.PERIOD): """
        weekly qod eod qwk qweek monthly fortnightly tiw biw
        monday mondays tuesday tuesdays wednesday wednesdays thursday thursdays friday fridays saturday saturdays sunday sundays
    """,
    Token(Kind.AND): "and et plus",  # "mane et nocte"
    Token(Kind.OR): "or",
    Token(Kind.TO): "to",
    Token(Kind.TIMES): "x ×",
    Token(Kind.THEN): "then thereafter afterwards",
    Token(Kind.SKIPPED): """
        take takes taking taken give given use po oral orally by mouth of the at in on with before after every each prn only hard
        gelatin scored film coated extended delayed release er xr sr dispersible effervescent gastro resistant
    """,
    Token(Kind.UNCERTAIN): """
        increase increasing increased titrate titrated titrating titration taper tapering reduce reducing reduced decrease
        escalate escalation adjust adjusted double doubled repeat repeated another extra additional except skip instead
        alternating kg pump intrathecal intrathecally epidural infusion infuse infused bolus loading not never avoid
    """,
}
# Without these a German or French text could be read by half: "1-0-1, dann 2-0-2", "10 mg 1-0-1 nicht nüchtern".
GERMAN_AND_FRENCH = """
    milligramm gramm tablette tabletten kapsel kapseln kps comprime comprimes comprimé comprimés gelule gelules gélule gélules
    morgens früh frueh matin mittags mittag midi nachmittags abends abend soir nachts nacht coucher uhr
    stunde stunden heure heures jour jours tage tagen woche wochen semaine semaines mois
    tgl täglich taeglich quotidien wöchentlich stündlich ein eine un une zwei deux drei trois vier quatre halbe demi
    einmal zweimal dreimal fois und oder ou bis dann danach puis ensuite für pendant alle jeden tous toutes nicht steigern
"""
_MEANINGS = (
    {word: token for token, words in _WORDS.items() for word in words.split()}
    | {unit: Token(Kind.MASS, mg) for unit, mg in MG_PER_UNIT.items()}
    | dict.fromkeys(GERMAN_AND_FRENCH.split(), Token(Kind.UNCERTAIN))
)
_ANY_WORD = Token(Kind.WORD)


def word_token(word: str) -> Token:
    """Return the token of a word in lower case."""
    return _MEANINGS.get(word, _ANY_WORD)
