"""Read the body out of a curl command. Nothing is run, and no file that it names is read."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from cds_service.wire.errors import BadRequest

_DATA = frozenset({"-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--json"})
_HEADERS = frozenset({"-H", "--header"})
_WITH_VALUE = frozenset(
    {"-X", "--request", "-u", "--user", "-o", "--output", "-A", "--user-agent", "-b", "--cookie", "-e", "--referer", "-m"}
    | {"--max-time", "--connect-timeout", "--cacert", "--cert", "--key", "--resolve", "--retry", "-x", "--proxy", "-w"}
)
_CONTINUED = re.compile(r"[\\^`]\r?\n")  # of a Unix shell, of Windows, of PowerShell
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1[^\n]*\n(.*?)\n\s*\2\s*$", re.DOTALL | re.MULTILINE)
_ANSI_C = re.compile(r"(?<=\s)\$'((?:[^'\\]|\\.)*)'")  # as browsers copy a body with a quote or a line break
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)


class CurlCommand(NamedTuple):
    """What a command would send."""

    url: str
    body: str
    headers: tuple[str, ...]  # names, in lower case


def is_curl(text: str) -> bool:
    """Tell whether a text is a curl command."""
    return re.match(r"\s*(\$\s+)?curl(\.exe)?\s", text) is not None


def read_curl(text: str) -> CurlCommand:
    """Return what the command sends. Raises BadRequest where its body is elsewhere, or its quotes can't be read."""
    here = _HEREDOC.search(text)
    plain = _CONTINUED.sub(" ", text[: here.start()] if here is not None else text)
    try:
        words = shlex.split(_ANSI_C.sub(lambda found: shlex.quote(_ESCAPE.sub(_character, found[1])), plain))
    except ValueError:
        raise BadRequest("The quotes of the curl command can't be read; paste its body alone") from None
    url, parts, headers = "", [], []
    rest = iter(words[words.index(next(one for one in words if one.startswith("curl"))) + 1 :])
    for word in rest:
        name, glued, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if word.startswith("-") and name in _DATA | _HEADERS | _WITH_VALUE | {"--url"}:
            value = value if glued else next(rest, "")
            if name in _DATA:
                parts.append(value)
            elif name in _HEADERS:
                headers.append(value.partition(":")[0].strip().lower())
            elif name == "--url":
                url = value
        elif not word.startswith("-"):
            url = url or word
    body = "&".join(parts)
    if body == "@-" and here is not None:
        body = here[3]
    if body.startswith("@"):
        raise BadRequest("The curl command sends a file, which is not read from here; choose that file, or paste its content")
    if not body.strip():
        raise BadRequest("The curl command has no body (-d, --data, --json)")
    return CurlCommand(url, body, tuple(headers))


def _character(found: re.Match[str]) -> str:
    escaped = found[1]
    if len(escaped) > 1:
        return chr(int(escaped[1:], 16))
    return _ESCAPES.get(escaped, escaped)
