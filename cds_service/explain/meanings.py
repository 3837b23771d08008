"""Write what each term of a card means, in full where it is used.

Numbers come with unit, source and date, and groups are expanded, so that the person who signs a card need not look anything up in
another file.
"""

from __future__ import annotations

from collections.abc import Sequence

from cds_service.criteria.group import AllCriterion, Composite
from cds_service.explain.sentences import Sentences
from cds_service.knowledge.knowledge import Knowledge


class Meanings:
    """Write the terms of one `Knowledge` in full."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._sentences = Sentences(knowledge.criteria, knowledge.terminology)

    def term(self, name: str) -> str:
        """Return the criterion `name` with its sources; a group by its name, its members in brackets."""
        if isinstance(self._knowledge.criteria[name], Composite):
            return f"{self._sentences.of(name)} ({self.expanded(name)})"
        return self.expanded(name)

    def expanded(self, name: str) -> str:
        """Return the criterion `name` with its sources, a group by its members alone."""
        criterion = self._knowledge.criteria[name]
        said = self._sentences.meaning(name)
        if isinstance(criterion, Composite):
            joined = " and " if isinstance(criterion, AllCriterion) else "; or "
            said = joined.join(self.term(one) for one in criterion.of)
            said += "".join(f", and not {self.term(one)}" for one in criterion.none_of)
        return said + self._origin(name)

    def all_of(self, when: Sequence[str], unless: Sequence[str]) -> list[str]:
        """Return what must hold and what must not, a phrase each.

        Empty where it always holds.
        """
        return [*(self.term(name) for name in when), *(f"not: {self.term(name)}" for name in unless)]

    def numbers(self, name: str) -> list[str]:
        """Return the named numbers of the criterion: what, since when, on which source."""
        used = self._knowledge.named.get(name, {})
        found = [self._knowledge.thresholds[threshold] for threshold in dict.fromkeys(used.values())]
        return [f"{one.what}, since {one.since} ({', '.join(one.source)})" for one in found]

    def _origin(self, name: str) -> str:
        parts = [", ".join(self._knowledge.criteria[name].source), *self.numbers(name)]
        said = "; ".join(part for part in parts if part)
        return f" [{said}]" if said else ""
