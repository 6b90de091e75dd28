"""Takes a shell command line apart into the simple commands that it may run.

This is no shell: it finds which words stand where a command stands. Variables and
substitutions stay as they are written, and what is inside a substitution is not run.
"""

from __future__ import annotations

import re

KEYWORDS = frozenset(
    {"!", "{", "}", "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "in",
     "case", "esac", "time", "select", "for"}
)  # fmt: skip
"""Words after which (or in whose place) another command stands."""

MAX_LENGTH = 64 << 10
"""Characters that are looked at: a longer script is no command line."""

_ENDS = frozenset(";&|()\n")
_ORDINARY = re.compile(r"[^ \t\r<>;&|()\n\\'\"`$]+")
_REDIRECTION = re.compile(r"[<>][<>&|]*-?")


def simple_commands(text: str) -> list[list[str]]:
    """The words of every simple command, without redirections, comments and keywords.

    >>> simple_commands("pidof hyprlock || hyprlock -q > /dev/null")
    [['pidof', 'hyprlock'], ['hyprlock', '-q']]
    """
    commands: list[list[str]] = [[]]
    for token in _Lexer(text[:MAX_LENGTH].replace("\\\n", " ")).tokens():
        if token is None:
            commands.append([])
        elif commands[-1] or token not in KEYWORDS:
            commands[-1].append(token)
    return [words for words in commands if words]


class _Lexer:
    """Reads words and the ends of commands (None)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def tokens(self) -> list[str | None]:
        found: list[str | None] = []
        text = self._text
        skip_next = False
        while self._at < len(text):
            char = text[self._at]
            if char in " \t\r":
                self._at += 1
            elif char == "#":
                # Only at the start of a word does it begin a comment.
                end = text.find("\n", self._at)
                self._at = end if end >= 0 else len(text)
            elif char == "&" and text.startswith(("&>", "&>>"), self._at):
                self._at += 1
            elif char in _ENDS:
                self._at += 1
                found.append(None)
                skip_next = False
            elif char in "<>":
                self._redirection()
                skip_next = True
            else:
                word = self._word()
                is_descriptor = word.isdigit() and text[self._at : self._at + 1] in ("<", ">")
                if not skip_next and not is_descriptor:
                    found.append(word)
                skip_next = False
        return found

    def _redirection(self) -> None:
        match = _REDIRECTION.match(self._text, self._at)
        self._at = match.end() if match else self._at + 1

    def _word(self) -> str:
        """One word, its quotes taken off."""
        text, parts = self._text, []
        while self._at < len(text):
            char = text[self._at]
            if char in " \t\r<>" or char in _ENDS:
                break
            if char == "\\":
                parts.append(text[self._at + 1 : self._at + 2])
                self._at += 2
            elif char == "'":
                end = text.find("'", self._at + 1)
                end = end if end >= 0 else len(text)
                parts.append(text[self._at + 1 : end])
                self._at = end + 1
            elif char == '"':
                self._at += 1
                parts.append(self._double_quoted())
            elif char == "`" or text.startswith("$(", self._at):
                parts.append(self._substitution())
            else:
                # `$` alone is as ordinary as a letter.
                run = _ORDINARY.match(text, self._at)
                end = run.end() if run else self._at + 1
                parts.append(text[self._at : end])
                self._at = end
        return "".join(parts)

    def _double_quoted(self) -> str:
        text, parts = self._text, []
        while self._at < len(text) and text[self._at] != '"':
            if text[self._at] == "\\" and text[self._at + 1 : self._at + 2] in (
                '"',
                "\\",
                "$",
                "`",
            ):
                parts.append(text[self._at + 1])
                self._at += 2
            elif text.startswith("$(", self._at):
                parts.append(self._substitution())
            else:
                parts.append(text[self._at])
                self._at += 1
        self._at += 1
        return "".join(parts)

    def _substitution(self) -> str:
        """`$(…)` or backquotes, as written."""
        text, start = self._text, self._at
        if text[start] == "`":
            end = text.find("`", start + 1)
            self._at = end + 1 if end >= 0 else len(text)
            return text[start : self._at]
        depth = 0
        self._at += 1
        while self._at < len(text):
            depth += {"(": 1, ")": -1}.get(text[self._at], 0)
            self._at += 1
            if depth == 0:
                break
        return text[start : self._at]
