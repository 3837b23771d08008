"""Show JSON on web pages: indented, coloured, with invisible characters made visible."""

from __future__ import annotations

import re

import msgspec
from markupsafe import Markup, escape

MOST_SHOWN = 200_000  # characters of a body on a page

_TOKEN = re.compile(r'("(?:\\.|[^"\\])*")(\s*:)?|(-?\d[\d.eE+-]*)|\b(true|false|null)\b')
# Characters without width, or that change the direction of the text after them.
_INVISIBLE = re.compile("[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def pretty(body: bytes) -> str:
    """Return a body with its JSON indented and invisible characters escaped.

    A body that is not JSON stays as it is.
    """
    if not is_json(body):
        return body.decode("utf-8", "replace")
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", msgspec.json.format(body, indent=2).decode())


def coloured(body: bytes) -> Markup:
    """Return a body as HTML: indented, with keys, texts and numbers in different colours."""
    whole = pretty(body)
    parts: list[Markup] = []
    end = 0
    for match in _TOKEN.finditer(whole, 0, MOST_SHOWN):
        string, colon, number, _ = match.groups()
        kind = "k" if colon else "s" if string else "n" if number else "l"
        parts += [escape(whole[end : match.start()]), Markup('<span class="{}">{}</span>').format(kind, match[0])]
        end = match.end()
    rest = whole[end:MOST_SHOWN]
    more = f"\n… {len(whole) - MOST_SHOWN} more characters; the file holds all" if len(whole) > MOST_SHOWN else ""
    return Markup("").join([*parts, escape(rest), escape(more)])


def is_json(body: bytes) -> bool:
    """Return whether a body is JSON."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
