"""Clean strings that came from an EHR, and escape them for Markdown."""

from __future__ import annotations

import re
import unicodedata

from cds_service.short_cache import short_cache

NAME_LIMIT = 80  # characters of one name from an EHR
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~>=\-])")
_LIST_ITEM = re.compile(r"^\d{1,9}(?=\.)")
# Characters without width outside category C: fillers, invisible vowels, variation selectors (Unicode's
# Default_Ignorable_Code_Point), and the empty Braille cell.
_NO_WIDTH = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_LINKS = re.compile(r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)")  # where a client would see an address


@short_cache(4096)
def cleaned(text: str) -> str:
    """Return `text` on one line without control, bidirectional and zero-width characters, cut to 80 characters.

    It contains no HTML tag: "<" before a letter becomes "‹", for clients that render a summary or a label as HTML.
    """
    kept = "".join(
        " " if char.isspace() else char
        for char in unicodedata.normalize("NFC", _NO_WIDTH.sub("", text))
        if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    one_line = _TAG.sub("‹", " ".join(kept.split()))
    return one_line if len(one_line) <= NAME_LIMIT else f"{one_line[: NAME_LIMIT - 1].rstrip()}…"


@short_cache(4096)
def markdown(text: str) -> str:
    """Clean and escape `text`, so that GitHub Flavored Markdown and HTML clients show it as plain text."""
    plain = cleaned(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = _LIST_ITEM.sub(r"\g<0>\\", _MARKDOWN.sub(r"\\\1", plain))
    return _LINKS.sub("&#8203;", plain)
