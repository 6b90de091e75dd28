"""Takes secrets out of what a recording keeps, so that a bug report can carry one.

A recording is for people outside the site. What looks like a secret is replaced by
`REDACTED`; replaying applies the same to the question, so that it still finds its answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from qlmdm_core.api import JSON

REDACTED = "REDACTED"

ENVIRONMENT = frozenset(
    {
        "DBUS_SESSION_BUS_ADDRESS",
        "DCONF_PROFILE",
        "DESKTOP_SESSION",
        "DISPLAY",
        "GDMSESSION",
        "GNOME_SHELL_SESSION_MODE",
        "HOME",
        "LANG",
        "SWAYSOCK",
        "WAYLAND_DISPLAY",
    }
)
"""The variables of a process that a recording keeps, beside `XDG_…`."""

_KEYS = r"(?:api[_-]?key|device[_-]?key|private[_-]?key)"
_WORDS = rf"(?:{_KEYS}|token|password|passphrase|passwd|secret|psk)"
_NAME_OF_SECRET = re.compile(rf"(?i)[\w.-]*{_WORDS}\Z")
_ASSIGNED = re.compile(
    # A name that ends in a secret word, on one line with its value. "passwd:" is no secret
    # but a database of nsswitch.conf(5), or the start of a line that grep found.
    rf"""(?ix)
    (?P<name> {_WORDS} ["']? [ \t]* (?: = | (?<!passwd)[ ]?: ) [ \t]*)
    (?! (?: yes|no|true|false|none|null|on|off|[01] ) \b)
    (?! [\[{{] [ \t]* ["'\]}}] )  # a list or object in JSON: what is in it comes for itself
    (?: (?P<quote>["']) (?:\\.|(?!(?P=quote))[^\\\n])* (?P=quote)? | [^\s&,;"'}}\]]+ )"""
)
_KEY_BLOCK = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)"
    r".*?(?:(-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)|\Z)",
    re.DOTALL,
)
_IN_URL = re.compile(r"(?<=://)([^\s/:@]{1,255}):[^\s/@]{1,1024}@")
_AUTHORIZATION = re.compile(r"(?i)(\bauthorization[\"']?[ \t]*[:=][ \t]*[\"']?)[^\r\n\"']+")
_IN_QUERY = re.compile(r"(?i)([?&](?:key|sig|signature|auth)=)[^\s&#\"']+")
_SSH_KEY = re.compile(r"\b((?:ssh-[a-z0-9]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) )AAAA[0-9A-Za-z+/=]+")
_FINGERPRINT = re.compile(r"\bSHA256:[0-9A-Za-z+/]{43}")  # as ssh-keygen(1) prints it
_SECRET_FILE = re.compile(r"(?i)(?:key|token|secret|password|passphrase)[^/]*\Z")
_ONE_SECRET = re.compile(r"\s*[\w+/.-]{8,}=*\s*\Z")
_CRYPT = re.compile(r"\$(?:1|2[abxy]|5|6|7|gy|y)\$[^\s:,\"']+")  # crypt(5): a hashed password
_OLD_CRYPT = re.compile(
    # The hashes of DES and BSDi look like any word, but for their place in passwd(5), shadow(5).
    r"(?m)^([A-Za-z_][\w.-]{0,31}\$?:!{0,2})(?:[./0-9A-Za-z]{13}|_[./0-9A-Za-z]{19})(?=:[0-9]*:)"
)


def redact(text: str) -> str:
    """The text, with the values of secrets replaced.

    >>> redact("api_key = 12ab, host=x; PasswordAuthentication=no; password: 'a b'")
    "api_key = REDACTED, host=x; PasswordAuthentication=no; password: 'REDACTED'"
    """
    if "PRIVATE KEY" in text:
        text = _KEY_BLOCK.sub(rf"\1\n{REDACTED}\n\2", text)
    # First what is found by its own look: it leaves a word, which may be the rest's to find.
    text = _OLD_CRYPT.sub(rf"\1{REDACTED}", _CRYPT.sub(REDACTED, text))
    text = _IN_URL.sub(rf"\1:{REDACTED}@", text)
    text = _AUTHORIZATION.sub(rf"\1{REDACTED}", text)
    text = _ASSIGNED.sub(_hide_value, text)
    text = _IN_QUERY.sub(rf"\1{REDACTED}", text)
    text = _SSH_KEY.sub(rf"\1{REDACTED}", text)
    return _FINGERPRINT.sub(REDACTED, text)


def _hide_value(found: re.Match[str]) -> str:
    quote = found["quote"] or ""
    return f"{found['name']}{quote}{REDACTED}{quote}"


def redact_file(path: str, text: str) -> str:
    """The text of a file; of one that is named like a secret and is one word, nothing."""
    if _SECRET_FILE.search(path) and _ONE_SECRET.match(text):
        return f"{REDACTED}\n"
    return redact(text)


def redact_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line, without the value that follows an option such as `--token`."""
    out: list[str] = []
    hide = False
    for word in argv:
        out.append(REDACTED if hide and not word.startswith("-") else redact(word))
        hide = word.startswith("-") and _NAME_OF_SECRET.match(word) is not None
    return tuple(out)


def redact_json(value: JSON) -> JSON:
    """A JSON value, without what is named like a secret."""
    if isinstance(value, Mapping):
        return {
            key: REDACTED
            if isinstance(inner, (str, int)) and _NAME_OF_SECRET.match(str(key))
            else redact_json(inner)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_json(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def keep_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of a process's environment that collectors use; anything may hide elsewhere."""
    return {
        name: redact(value)
        for name, value in environ.items()
        if name in ENVIRONMENT or name.startswith("XDG_")
    }
