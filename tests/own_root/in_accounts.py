"""The wipe's method `accounts`, for real."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest
from own_machine import CID, GROUP, PASSWD, Told, order

from qlmdm_core.client.wipe import act, hands, match, mounts, power, trees
from qlmdm_core.client.wipe.act import Outcome
from qlmdm_core.client.wipe.blockdevices import UnreadableError
from qlmdm_core.client.wipe.power import NoPowerError

pytestmark = pytest.mark.usefixtures("machine")


def wipe(told: Told, **how: Any) -> Outcome:
    command, plan = order("accounts")
    return act.carry_out(command, plan, power.in_own_root(), told, cid=CID, **how)


def test_homes_and_accounts_are_gone_and_the_systems_are_left(told: Told) -> None:
    wipe(told)
    for path in ("/srv/people/bob", "/home/eve", "/home/ada/letter", "/home/ada/.config"):
        assert not os.path.lexists(path), path
    assert Path("/srv/service/data").read_text() == "/srv/service/data"
    assert Path("/root/file").exists()
    assert Path("/etc/passwd").read_text() == "".join(PASSWD.splitlines(keepends=True)[:4])
    assert Path("/etc/shadow").read_text() == "root:*:1::::::\nservice:!:1::::::\n"
    assert (
        Path("/etc/group").read_text()
        == "root:x:0:\nadm:x:4:service\nservice:x:999:\nusers:x:100:\n"
    )
    assert Path("/etc/gshadow").read_text() == "root:*::\nadm:*::\nusers:*::\n"
    assert Path("/etc/subuid").read_text() == ""
    assert os.stat("/etc/shadow").st_mode & 0o777 == 0o644


def test_mail_timed_jobs_and_files_elsewhere_go_with_them(told: Told) -> None:
    wipe(told)
    assert os.listdir("/var/mail") == ["service"]
    assert os.listdir("/var/spool/cron/crontabs") == ["service"]
    assert os.listdir("/var/spool/cron/atjobs") == ["a0002"]
    # (The interpreter may lie below /tmp, too: a folder of root's.)
    left = [name for name in os.listdir("/tmp") if os.lstat(f"/tmp/{name}").st_uid != 0]
    assert left == ["of-service"]


def test_each_stage_is_told_before_the_next_and_what_is_left_is_said(told: Told) -> None:
    outcome = wipe(told)
    assert [len(stages) for stages in told.stages] == list(range(1, len(told.stages) + 1))
    assert told.outcomes == [outcome]
    # Where something is mounted, a home can't go whole.
    assert outcome.state == "failed"
    assert any("/home/ada/bound: something is mounted there" in s for s in outcome.stages)


def test_a_dry_run_says_the_same_and_does_nothing(told: Told) -> None:
    outcome = wipe(told, dry_run=True)
    assert outcome.state == "done"
    assert Path("/home/ada/letter").exists()
    assert Path("/tmp/of-ada").exists()
    assert Path("/etc/passwd").read_text() == PASSWD
    assert Path("/etc/group").read_text() == GROUP


# --- what must not be reached ----------------------------------------------------------------


def test_what_is_mounted_in_a_home_is_left(told: Told) -> None:
    wipe(told)
    assert Path("/srv/bound/file").exists()
    assert Path("/home/ada/other/file").exists()


def test_it_would_be_lost_without_looking_at_mounts(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees._Walk, "_is_same_mount", lambda self, fd: True)
    wipe(told)
    # The list of mounts alone keeps them, too: they are not even opened.
    assert Path("/srv/bound/file").exists()
    monkeypatch.setattr(mounts, "parse", lambda text: mounts_but_homes(text))
    told.stages.clear()
    os.makedirs("/home/ada", exist_ok=True)
    Path("/etc/passwd").write_text(PASSWD)
    outcome = wipe(told)
    assert not Path("/srv/bound/file").exists(), outcome.stages
    assert not Path("/home/ada/other/file").exists()


_parse = mounts.parse


def mounts_but_homes(text: str) -> tuple[mounts.Mount, ...]:
    return tuple(mount for mount in _parse(text) if not mount.target.startswith("/home/"))


def test_a_mount_that_the_list_does_not_have_is_left(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "mounts", mounts)
    monkeypatch.setattr(mounts, "parse", mounts_but_homes)
    wipe(told)
    assert Path("/srv/bound/file").exists()
    assert Path("/home/ada/other/file").exists()


def make_traps() -> None:
    """Ways to lead a wipe elsewhere, as a person could lay them in a home."""
    os.symlink("/srv/kept", "/home/ada/folder")
    os.symlink("/srv/kept/file", "/home/ada/link")
    os.link("/srv/kept/file", "/home/ada/hard")
    os.symlink("/", "/home/ada/.config/root")
    os.symlink("..", "/home/ada/.config/up")
    Path("/home/ada/-rf *\n..").write_text("a name")
    os.mkfifo("/home/ada/pipe")
    for path in ("folder", "link", "hard"):
        os.lchown(f"/home/ada/{path}", 1000, 1000)


def test_links_are_removed_not_followed(told: Told) -> None:
    make_traps()
    os.chown("/srv/kept/file", 0, 0)
    wipe(told)
    assert Path("/srv/kept/file").read_text() == "/srv/kept/file"
    assert sorted(os.listdir("/home/ada")) == ["bound", "other"]


def test_a_link_would_lead_out_if_it_were_followed(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink("/srv/kept", "/home/ada/folder")
    real = os.stat

    def following(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
        return real(path, dir_fd=dir_fd)

    monkeypatch.setattr(trees, "_FOLDER", trees._FOLDER & ~os.O_NOFOLLOW)
    monkeypatch.setattr(os, "stat", following)
    wipe(told)
    assert not Path("/srv/kept/file").exists()


@pytest.mark.parametrize(
    "home",
    [
        "/",
        "/etc",
        "/usr",
        "/srv",
        "/root",
        "/home",
        "/etc/../srv/kept",
        "srv/kept",
        "",
        "/nowhere/x",
    ],
)
def test_a_folder_of_the_system_is_nobodys_home(told: Told, home: str) -> None:
    Path("/etc/passwd").write_text(f"{PASSWD}mallory:x:1002:1002::{home}:/bin/sh\n")
    wipe(told)
    assert Path("/srv/kept/file").exists()
    assert Path("/root/file").exists()
    assert Path("/etc/passwd").exists()


def test_what_belongs_to_somebody_else_is_nobodys_home(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("/etc/passwd").write_text(f"{PASSWD}mallory:x:1002:1002::/srv/kept:/bin/sh\n")
    outcome = wipe(told)
    assert Path("/srv/kept/file").exists()
    assert any("/srv/kept: it is somebody else's" in stage for stage in outcome.stages)
    # Without the look at the owner it is lost.
    real = trees.remove_tree
    monkeypatch.setattr(
        trees, "remove_tree", lambda *args, **how: real(*args, **{**how, "may": lambda _: True})
    )
    Path("/etc/passwd").write_text(f"{PASSWD}mallory:x:1002:1002::/srv/kept:/bin/sh\n")
    wipe(told)
    assert not Path("/srv/kept/file").exists()


def test_a_home_that_is_its_owners_link_is_not_followed(told: Told) -> None:
    os.rename("/srv/people/bob", "/srv/people/bob.old")
    os.makedirs("/srv/people/trap")
    os.chown("/srv/people/trap", 1001, 1001)
    os.symlink("/srv/people/trap", "/srv/people/bob")
    os.lchown("/srv/people/bob", 1001, 1001)
    outcome = wipe(told)
    assert os.path.isdir("/srv/people/trap")
    assert outcome.state == "failed"
    # One that the administrator made is.
    os.lchown("/srv/people/bob", 0, 0)
    Path("/etc/passwd").write_text(PASSWD)
    wipe(told)
    assert not os.path.exists("/srv/people/trap")


def test_homes_in_a_network_are_not_even_opened(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "LOCAL", mounts.LOCAL - {"tmpfs"})
    outcome = wipe(told)
    assert Path("/home/ada/letter").exists()
    assert Path("/srv/people/bob/.ssh/id").exists()
    assert outcome.state == "failed"
    assert any("it is on tmpfs" in stage for stage in outcome.stages)


def test_nothing_is_removed_if_it_can_not_be_seen_what_is_mounted(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(text: str) -> tuple[mounts.Mount, ...]:
        raise UnreadableError("a line that is no mount")

    # (The proof of this root reads the same.)
    given = power.in_own_root()
    monkeypatch.setattr(power.Power, "prove", lambda self: None)
    monkeypatch.setattr(mounts, "parse", unreadable)
    command, plan = order("accounts")
    outcome = act.carry_out(command, plan, given, told, cid=CID)
    assert outcome.state == "failed"
    assert Path("/home/ada/letter").exists()
    assert Path("/tmp/of-ada").exists()


def test_a_tree_of_any_depth_goes_with_few_open_files(told: Told) -> None:
    os.chdir("/srv/people/bob")
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    os.chdir("/")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, before[1]))
    try:
        wipe(told)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not os.path.exists("/srv/people/bob")


# --- processes ---------------------------------------------------------------------------------


def test_processes_of_people_end_and_no_others(told: Told) -> None:
    processes = {
        uid: subprocess.Popen(["sleep", "1000"], user=uid, group=uid, extra_groups=[])
        for uid in (999, 1000, 1001, 70000)
    }
    try:
        wipe(told)
        assert processes[1000].wait(10) == -9
        assert processes[1001].wait(10) == -9
        assert processes[70000].wait(10) == -9
        assert processes[999].poll() is None
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


# --- when it is not this machine, or can't be told ---------------------------------------------


def test_another_machine_is_not_touched(told: Told) -> None:
    command, plan = order("accounts", machine_id="f" * 32)
    with pytest.raises(NoPowerError, match="not the one that was signed"):
        act.carry_out(command, plan, power.in_own_root(), told, cid=CID)
    assert Path("/home/ada/letter").exists()
    assert told.stages == []


def test_it_would_be_wiped_without_that_look(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    command, plan = order("accounts", machine_id="f" * 32)
    monkeypatch.setattr(match, "refusals", lambda *args, **how: [])
    act.carry_out(command, plan, power.in_own_root(), told, cid=CID)
    assert not Path("/home/ada/letter").exists()


def test_what_can_not_be_journaled_is_not_begun(told: Told) -> None:
    class Full(Told):
        def started(self, stages: tuple[str, ...]) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        wipe(Full())
    assert Path("/home/ada/letter").exists()


def test_doing_it_again_finds_nothing_and_is_no_failure(told: Told) -> None:
    wipe(told)
    outcome = wipe(told)
    assert outcome.state == "done"
    assert any("accounts removed: there were none" in stage for stage in outcome.stages)
