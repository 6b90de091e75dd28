"""Decides from sshd's settings whether a password is enough to get in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qlmdm_plugins_builtin.collectors.sshd.accounts import in_list

Options = Mapping[str, Sequence[str]]
"""Keywords in lower case, each with all its values."""


def parse_dump(text: str) -> dict[str, list[str]]:
    """The settings that `sshd -T` printed: `keyword value`, some keywords more than once.

    Never raises. A keyword's former name is put as the present one.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword.isalnum():
            found.setdefault(keyword.lower(), []).append(value.strip())
    for former, name in _FORMER.items():
        if former in found:
            # Versions before 8.7 print both, and a yes to either is one (sshd.c).
            values = [*found.get(name, ()), *found.pop(former)]
            found[name] = [next((value for value in values if value == "yes"), values[0])]
    return found


_FORMER = {"challengeresponseauthentication": "kbdinteractiveauthentication"}

DEFAULTS: Options = {
    # sshd_config(5). UsePAM is left out: distributions set it, and some changed the default.
    "passwordauthentication": ["yes"],
    "kbdinteractiveauthentication": ["yes"],
    "permitrootlogin": ["prohibit-password"],
    "permitemptypasswords": ["no"],
    "authenticationmethods": ["any"],
    "port": ["22"],
}
"""What holds where the files say nothing."""


def any_of(values: Iterable[bool | None]) -> bool | None:
    """True if one is; None if one may be."""
    found = list(values)
    return True if True in found else None if None in found else False


def all_of(values: Iterable[bool | None]) -> bool | None:
    """False if one is; None if one may be."""
    found = list(values)
    return False if False in found else None if None in found else True


def by_password(options: Options) -> bool | None:
    """Whether a password alone lets in whom the other settings admit; None if not known."""
    # Versions before 7.5 print nothing where it is not set, which means "any".
    methods = _first(options, "authenticationmethods") or "any"
    password = _is_yes(options, "passwordauthentication")
    # PAM asks for the password in this method too (UsePAM in sshd_config(5)).
    dialogue = all_of(
        (_is_yes(options, "kbdinteractiveauthentication"), _is_yes(options, "usepam"))
    )
    if methods == "any":
        return any_of((password, dialogue))
    return any_of(
        all_of(_by(method, password, dialogue) for method in chain.split(","))
        for chain in methods.split()
    )


def _by(method: str, password: bool | None, dialogue: bool | None) -> bool | None:
    """Whether a method of AuthenticationMethods asks for nothing but a password."""
    kind = method.split(":", 1)[0].lower()
    if kind == "password":
        return password
    return dialogue if kind == "keyboard-interactive" else False


def user_by_password(options: Options) -> bool | None:
    """Whether some ordinary user gets in by a password."""
    listed = _users(options, "allowusers")
    if listed and all(pattern.split("@", 1)[0] == "root" for pattern in listed):
        return False
    return by_password(options)


def root_by_password(options: Options) -> bool | None:
    """Whether root gets in by a password; None if not known."""
    permitted = _first(options, "permitrootlogin")
    listed = _users(options, "allowusers")
    if permitted is not None and permitted.lower() != "yes":
        return False  # prohibit-password, without-password, forced-commands-only, no
    if listed and not any(in_list(pattern.split("@", 1)[0], "root") for pattern in listed):
        return False
    if any("@" not in p and in_list(p, "root") for p in _users(options, "denyusers")):
        return False
    return all_of((None if permitted is None else True, by_password(options)))


def _users(options: Options, keyword: str) -> list[str]:
    return [pattern for value in options.get(keyword, ()) for pattern in value.split()]


def _first(options: Options, keyword: str) -> str | None:
    values = options.get(keyword)
    return values[0] if values else None


def _is_yes(options: Options, keyword: str) -> bool | None:
    value = _first(options, keyword)
    return None if value is None else value.lower() in ("yes", "true")
