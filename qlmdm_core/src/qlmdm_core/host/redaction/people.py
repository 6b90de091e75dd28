"""Finds the people of a recorded machine: who has an account, and what else it is called by.

A user is named in many places beside passwd(5): those of a directory service have no line
there, and a configuration names people who are long gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from qlmdm_core.host.recorded import RecordedCommand, Recording
from qlmdm_core.people import is_persons

_HOME = re.compile(r"(?:^|[\s\"'=:(,])/(?:var/)?home/([^/\s\"':]+)")
_MEDIUM = re.compile(r"(?:^|[\s\"'=:(,])/(?:run/)?media/([^/\s\"':,]+)/[^/\s]")
_NO_HOMES = (
    "lost+found",
    ".snapshots",
    "*",
    "cdrom",
    "cdrom0",
    "floppy",
    "usb",
    "root-ro",
    "root-rw",
)
_FILE_OF_A_USER = re.compile(
    r"/(?:AccountsService/(?:users|icons)|systemd/linger|cron/crontabs|cron/tabs"
    r"|var/(?:spool/)?mail|faillock|sudo/ts|lectured)/([^/]+)\Z"
)
_LOGINCTL = re.compile(
    r"(?m)^Name=(\S+)$|^[ \t]*\S+[ \t]+(?:[1-9]\d{3,9})[ \t]+([^\s-]\S*)"
    r"|^[ \t]*(?:[1-9]\d{3,9})[ \t]+([^\s-]\S*)|\"(?:user|name)\"[ \t]*:[ \t]*\"([^\"]+)\""
)
_SSHD = re.compile(
    r"(?mi)^[ \t]*(?:Allow|Deny)Users[ \t=]+(.+)$|^[ \t]*Match[ \t](?:.*[ \t])?User[ \t=]+(\S+)"
)
_SUDOERS = re.compile(r"(?m)^[ \t]*([^\s#%@+:=!\\]+)[ \t]+[^\s=]+[ \t]*=")
_AUTOLOGIN = re.compile(
    r"(?mi)^[ \t]*(?:autologin-user|AutomaticLogin|TimedLogin|autologin|user)[ \t]*=[ \t]*"
    r"\"?([^\s\"#]+)"
)
_LOGIN_FILES = re.compile(r"/(?:lightdm|gdm3?|sddm|greetd|lxdm|ly|plasmalogin)[^/]*(?:/|\Z)")
_MOUNT_OPTION = re.compile(r"[\s,(](?:user|username)=([^,\s)]+)")
_SYSTEM = frozenset(
    {
        "backup",
        "www-data",
        "git",
        "_greeter",
        "gdm",
        "gdm-greeter",
        "lightdm",
        "sddm",
        "greeter",
        "sudoers",
        "all",
        "defaults",
    }
    | {"user_alias", "cmnd_alias", "cmd_alias", "host_alias", "runas_alias"}
)
_DOCUMENT = re.compile(r"/home/[^/]+/(?:[^./][^/]*/)*([^./][^/]{3,}\.[A-Za-z0-9]{2,5})\Z")
"""(Not below a hidden folder: that is configuration.)"""
_PAGE = re.compile(r"\A(?:--\S+=)?https?://(\S{4,})")


def users(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    """Names of users, and of the folders that are their homes; also those that are in doubt."""
    accounts = list(_lines(_accounts(recording, files)))
    system = {fields[0] for fields in accounts if not is_persons(fields[2])} | _SYSTEM
    yield from _of_accounts(accounts)
    for process in recording.processes:
        if process.uid is not None and is_persons(str(process.uid)) and process.user:
            yield process.user
    mentioned = [*_in_commands(recording.commands), *_in_files(files)]
    for name in mentioned:
        if name.lower() not in system:
            yield name
            if short(name) != name:
                yield short(name)
    for command in recording.commands:
        yield from _homes(command.stdout)
    for path, text in files.items():
        yield from (*_homes(path), *_homes(text))


def short(name: str) -> str:
    """The user's name alone, of DOMAIN\\user and user@domain."""
    return re.sub(r"\A[\w.-]+[\\+]+(?=\w)|(?<=\w)@[\w.-]+\Z", "", name)


def persons(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    """The names of people beside their user names (passwd(5), GECOS), and their surnames."""
    for fields in _lines(_accounts(recording, files)):
        name = fields[4].split(",")[0]
        if is_persons(fields[2]) and name != fields[0]:
            yield name
            words = name.split()
            if 2 <= len(words) <= 4 and len(words[-1]) > 4 and words[-1][0].isupper():
                yield words[-1]


def documents(recording: Recording) -> Iterator[str]:
    """Files and pages that somebody has open, by the command lines of programs."""
    for process in recording.processes:
        for word in (process.argv or ())[1:]:
            if found := _DOCUMENT.search(word) or _PAGE.search(word):
                yield found[1]


def numbers(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    """Their rooms and telephones."""
    for fields in _lines(_accounts(recording, files)):
        if is_persons(fields[2]):
            yield from fields[4].split(",")[1:]


def _lines(text: str) -> Iterator[Sequence[str]]:
    """The lines of passwd(5)."""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 7:
            yield fields


def _accounts(recording: Recording, files: Mapping[str, str]) -> str:
    asked = (
        command.stdout
        for command in recording.commands
        if _program(command) == "getent" and "passwd" in command.argv
    )
    return "\n".join([files.get("/etc/passwd", ""), *asked])


def _program(command: RecordedCommand) -> str:
    return command.argv[0].rsplit("/", 1)[-1]


def _of_accounts(accounts: Sequence[Sequence[str]]) -> Iterator[str]:
    for fields in accounts:
        if is_persons(fields[2]):
            yield fields[0]
            yield short(fields[0])
            home = fields[5].rstrip("/").rsplit("/", 1)[-1]
            if fields[5].count("/") > 1 and home not in _NO_HOMES:
                yield home


def _in_commands(commands: Sequence[RecordedCommand]) -> Iterator[str]:
    for command in commands:
        if command.user:
            yield command.user
        program = _program(command)
        if program == "loginctl":
            yield from _groups(_LOGINCTL, command.stdout)
        elif program == "sshd":
            yield from _sshd(command.stdout)
        elif program in ("mount", "findmnt", "lsblk"):
            yield from _groups(_MOUNT_OPTION, command.stdout)
        elif program == "getent" and "group" in command.argv:
            yield from _members(command.stdout)


def _in_files(files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        if found := _FILE_OF_A_USER.search(path):
            yield found[1]
        if path == "/etc/group":
            yield from _members(text)
        elif path.startswith("/etc/ssh/"):
            yield from _sshd(text)
        elif path.startswith(("/etc/sudoers", "/etc/doas")):
            yield from (name for name in _groups(_SUDOERS, text) if not name.isupper())
        elif path.endswith(("/mountinfo", "/mounts", "/fstab")):
            yield from _groups(_MOUNT_OPTION, text)
        elif _LOGIN_FILES.search(path):
            yield from _groups(_AUTOLOGIN, text)


def _members(text: str) -> Iterator[str]:
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 4:
            yield from fields[3].split(",")


def _sshd(text: str) -> Iterator[str]:
    for found in _groups(_SSHD, text):
        for word in re.split(r"[\s,]+", found):
            name = word.strip('"').lstrip("!").split("@")[0]
            if not set(name) & set("*?"):
                yield name


def _homes(text: str) -> Iterator[str]:
    for pattern in (_HOME, _MEDIUM):
        for found in pattern.finditer(text):
            # systemd-homed(8): /home/ada.home is the image of ada's home.
            name = re.sub(r"\.home(?:dir)?\Z", "", found[1])
            if name not in _NO_HOMES and name[:1] != ".":
                yield name


def _groups(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    for found in pattern.finditer(text):
        yield next(group for group in found.groups() if group)
