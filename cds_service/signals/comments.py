"""Find cards that clinicians are angry about, by words of their comments.

The heuristic is that of Aaron and others 2019 (J Am Med Inform Assoc 26, 37): of the cards whose comments had such words, 16 of
the first 20 were broken. Their list is not used; these words are our own, in their manner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LEAST_ANGRY = 3  # comments on a card in a week

_WORDS = (
    *("wrong", "incorrect", "inaccurate", "erroneous", "error", "mistake", "broken", "bug", "useless", "pointless", "nonsense"),
    *("ridiculous", "absurd", "stupid", "dumb", "silly", "idiotic", "annoying", "irritating", "frustrating", "waste"),
    *("inappropriate", "irrelevant", "stop", "hate", "terrible", "awful", "never", "already", "why", "please fix", "fix this"),
    *("makes no sense", "does not apply", "doesn't apply", "not applicable", "not indicated", "not on", "no longer", "again and"),
)
_ANGRY = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in _WORDS), re.IGNORECASE)
_SHOUTED = re.compile(r"!!|\?\?|\?!|\b[A-Z]{4,}\b.*\b[A-Z]{4,}\b", re.DOTALL)


def angry(comments: Iterable[str]) -> int:
    """Return how many of the comments have a word of the list, or shout."""
    return sum(bool(_ANGRY.search(one) or _SHOUTED.search(one)) for one in comments)
