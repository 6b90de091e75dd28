"""Takes accounts out of the files that they are in (passwd(5), shadow(5), group(5), …).

Text to text. Not by userdel, which some systems lack, which does more on some and less on
others, and which runs what login.defs(5) names.
"""

from __future__ import annotations

from collections.abc import Collection

BY_NAME = ("/etc/passwd", "/etc/shadow", "/etc/subuid", "/etc/subgid")
"""A line for each account, which begins with its name."""
GROUPS = ("/etc/group", "/etc/gshadow")
"""A line for each group, whose last field has its members; gshadow's third its managers."""


def without(text: str, names: Collection[str]) -> str:
    """The lines of passwd(5) or shadow(5) that are not of these accounts."""
    lines = text.split("\n")
    return "\n".join(line for line in lines if line.split(":", 1)[0] not in names)


def without_members(text: str, names: Collection[str], own: Collection[str] = ()) -> str:
    """The lines of group(5) or gshadow(5), these accounts no members any more.

    `own` are groups that go with their accounts: those of the same name.
    """
    kept = []
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) != 4:
            kept.append(line)
        elif fields[0] not in own:
            is_gshadow = not fields[2].strip().isdigit()
            managers = _others(fields[2], names) if is_gshadow else fields[2]
            kept.append(":".join((*fields[:2], managers, _others(fields[3], names))))
    return "\n".join(kept)


def own_groups(passwd: str, group: str, names: Collection[str]) -> tuple[str, ...]:
    """The groups that are these accounts' own: of the same name, the primary one, no one else's."""
    primary: dict[str, set[str]] = {}
    for line in passwd.split("\n"):
        fields = line.split(":")
        if len(fields) == 7:
            primary.setdefault(fields[3], set()).add(fields[0])
    found = []
    for line in group.split("\n"):
        fields = line.split(":")
        if len(fields) == 4 and fields[0] in names:
            members = {name for name in fields[3].split(",") if name}
            users = primary.get(fields[2], set())
            if fields[0] in users and users | members <= set(names):
                found.append(fields[0])
    return tuple(found)


def _others(field: str, names: Collection[str]) -> str:
    return ",".join(name for name in field.split(",") if name and name not in names)
