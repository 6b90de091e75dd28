"""Reads os-release, the file by which every Linux distribution says what it is.

Core knows no distribution; it uses this standard, os-release(5), to choose the adapter
that does. The file is a list of shell assignments, but must not be run by a shell.
"""

from __future__ import annotations

import re

from qlmdm_core.api import Host

PATHS = ("/etc/os-release", "/usr/lib/os-release")
"""Where it is. The first one that can be read counts alone: the two are not merged."""

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_LOWER_CASE = ("ID", "ID_LIKE")


def parse(text: str) -> dict[str, str]:
    """The variables of an os-release file, unquoted, without those that are empty.

    Never raises: a line that is no assignment is skipped, a quote that is never closed ends
    with its line. As in a shell, the last assignment of a name counts. `ID` and `ID_LIKE`
    are put in lower case, as the standard demands and not every distribution does.

    >>> parse('NAME="Foo Linux"\\nID=Foo\\nVERSION_ID=""\\n# a comment\\n')
    {'NAME': 'Foo Linux', 'ID': 'foo'}
    """
    variables: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").split("\n"):
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            continue
        name, value = match.group(1), _unquote(match.group(2))
        if name in _LOWER_CASE:
            value = value.lower()
        variables[name] = value
    return {name: value for name, value in variables.items() if value}


def read(host: Host) -> dict[str, str]:
    """The machine's os-release variables; empty if there is no such file that can be read."""
    for path in PATHS:
        try:
            return parse(host.read(path))
        except OSError:
            continue
    return {}


def _unquote(raw: str) -> str:
    """The value that a shell would assign, without expanding anything.

    Lenient where a shell is not: blanks inside an unquoted value are kept, because files
    with `NAME=Foo Linux` exist and systemd reads them so too.
    """
    out: list[str] = []
    quote = ""
    kept = 0  # the length up to which trailing blanks are meant: they were quoted
    characters = iter(enumerate(raw))
    for index, character in characters:
        if quote == "'":
            if character == "'":
                quote, kept = "", len(out)
            else:
                out.append(character)
        elif quote == '"':
            if character == '"':
                quote, kept = "", len(out)
            elif character == "\\" and raw[index + 1 : index + 2] in tuple('"\\$`'):
                out.append(next(characters)[1])
            else:
                out.append(character)
        elif character in "'\"":
            quote = character
        elif character == "\\":
            if following := next(characters, None):
                out.append(following[1])
                kept = len(out)
        elif character == "#" and (index == 0 or raw[index - 1].isspace()):
            break
        else:
            out.append(character)
    value = "".join(out)
    return value[:kept] + value[kept:].rstrip() if not quote else value
