"""Find the code system of each coding: LOINC, RxNorm, ATC, SNOMED CT, ICD-10 and others of `systems.yaml`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cds_service.short_cache import short_cache
from cds_service.terminology.value_sets import SystemId, SystemsFile

Codings = Sequence[tuple[str | None, str | None]]  # (system, code), as sent
Known = tuple[SystemId, str, str]  # short name of the system, code, "system|code" as sent

_SEPARATORS = "|/:"  # between the name of a system and a code
_WITH_TERM = re.compile(r"(\d+)\s*\|[^|]*\|?")  # "91637004 |Myasthenia gravis|", as SNOMED CT writes a concept


class CodeSystems:
    """Look up code systems by what EHRs send for them: URIs, OIDs, names."""

    def __init__(self, file: SystemsFile) -> None:
        """Index `systems.yaml`."""
        self._names = {
            name: (frozenset(uri.lower() for uri in system.exactly), tuple(part.lower() for part in system.containing))
            for name, system in file.systems.items()
        }
        self.find = short_cache(256)(self._find)

    def known(self, codings: Codings) -> list[Known]:
        """Return the codings of known systems, each split by `split`."""
        known: list[Known] = []
        for system, code in codings:
            if code:
                short, plain = self.split(system, code)
                if short is not None:
                    known.append((short, plain, f"{system}|{code}"))
        return known

    def split(self, system: str | None, code: str) -> tuple[SystemId | None, str]:
        """Return (short name of the system or None, the code alone) of a code as it was sent.

        A code that begins with the name of a system ("RXNORM:9071", "http://loinc.org/2823-3") is of that system, whatever
        `system` says. The term that may follow a code of SNOMED CT is left out.
        """
        plain, short = code.strip(), self.find(system) if system else None
        for separator in _SEPARATORS:
            if separator in plain:
                before, _, rest = plain.rpartition(separator)
                if rest.strip() and (named := self.find(before)) is not None:
                    return named, rest.strip()
        if short == "snomed" and "|" in plain and (concept := _WITH_TERM.fullmatch(plain)) is not None:
            plain = concept[1]
        return short, plain

    def _find(self, uri: str) -> SystemId | None:
        """Return the short name of the system that `uri` names; None where it is not known."""
        lowered = uri.strip().lower()
        for name, (exactly, containing) in self._names.items():
            if lowered in exactly or any(part in lowered for part in containing):
                return name
        return None
