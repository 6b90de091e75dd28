"""The guest session collector: the display manager's name in other forms of systemd's answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.guest_session import collect, manager

STATUS = """\
● lightdm.service - Light Display Manager
     Loaded: loaded (/usr/lib/systemd/system/lightdm.service; enabled; preset: enabled)
     Active: active (running) since Tue 2026-10-06 07:12:40 UTC; 3 days ago
"""


def with_guests(tmp_path: Path) -> RecordedMachine:
    """LightDM is installed and lets guests in; whether it is used is not known."""
    machine = RecordedMachine(tmp_path).file("/etc/lightdm/lightdm.conf", "[Seat:*]\n")
    return machine.file("/usr/sbin/guest-account", "#!/bin/sh\n", mode=0o755)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("show --property=Names --property=Id display-manager.service",
         "Names=lightdm.service display-manager.service\nId=lightdm.service\n"),
        ("show display-manager", "Type=dbus\nId=lightdm.service\nLoadState=loaded\n"),
        ("status display-manager.service", STATUS),
        ("--no-pager status display-manager", STATUS),
        ("is-active lightdm", "active\n"),
        ("is-active lightdm.service", "active\n"),
    ],
)  # fmt: skip
def test_systemd_names_the_display_manager(tmp_path: Path, words: str, answer: str) -> None:
    machine = with_guests(tmp_path).command(["systemctl", *words.split()], answer)
    value = collect(machine.host())
    assert (value["state"], value["display_manager"]) == ("enabled", "lightdm")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("is-active lightdm", "inactive\n"),
        ("show display-manager.service", "Id=display-manager.service\nLoadState=not-found\n"),
        ("status display-manager.service", ""),
        ("status lightdm-plymouth", STATUS),
    ],
)
def test_other_answers_leave_it_unknown(tmp_path: Path, words: str, answer: str) -> None:
    machine = with_guests(tmp_path).command(["systemctl", *words.split()], answer)
    assert collect(machine.host())["state"] == "unknown"


def test_a_service_alone_is_enough(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(["systemctl", "is-active", "sddm"], "active\n")
    value = collect(machine.host())
    assert (value["state"], value["display_manager"]) == ("disabled", "sddm")


@given(st.text() | st.text().map("Id={}.service".format) | st.text().map("● {}".format))
def test_no_text_breaks_the_reader_of_a_unit(text: str) -> None:
    assert manager.unit_name(text) != "display-manager"
