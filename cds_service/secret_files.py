"""Read secrets from files, as systemd's credentials and the secrets of containers hand them over.

Environment variables of a process are seen by its children, by `docker inspect` and in dumps; files need not be.
"""

from __future__ import annotations

import os
from pathlib import Path

_SUFFIX = "_FILE"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"  # set by systemd for a unit with LoadCredential=


class SecretFileError(ValueError):
    """Raised for a secret that can't be read; the text names variable and path, never the content."""


def file_variable(variable: str) -> str:
    """Return the name of the variable that names the file of a secret."""
    return variable + _SUFFIX


def secret(variable: str) -> str:
    """Return the secret that `variable` holds, or the file that `variable`_FILE names, or systemd's credential of its name.

    "" where there is none. The name of the credential is the variable's in lower case. Line ends at the end of a file are no part
    of the secret. Raises SecretFileError for a file that can't be read or is empty, and for a secret that is given twice.
    """
    text = os.environ.get(variable, "")
    named = os.environ.get(file_variable(variable), "")
    folder = os.environ.get(_CREDENTIALS, "")
    credential = Path(folder, variable.lower()) if folder else None
    found: list[tuple[str, Path | None]] = [("the variable itself", None)] if text else []
    found += [(file_variable(variable), Path(named))] if named else []
    found += [(f"the credential {credential.name}", credential)] if credential is not None and credential.exists() else []
    if len(found) > 1:
        raise SecretFileError(f"{variable} is given by {' and by '.join(source for source, _ in found)}; keep one of them")
    if not found or found[0][1] is None:
        return text
    return _content(variable, found[0][1])


def _content(variable: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(f"{variable}: {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{variable}: {path} is not UTF-8 text") from None
    if not text:
        raise SecretFileError(f"{variable}: {path} is empty")
    return text
