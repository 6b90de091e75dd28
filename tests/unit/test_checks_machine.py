"""The checks of restarts, Secure Boot, accounts, packages and certificates: a test for each row
of their tables of verdicts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.units import Duration
from qlmdm_plugins_builtin.checks import accounts, boot, certificates, packages, reboot
from qlmdm_plugins_builtin.policy import Policy

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
DAY = 86400.0
MODULES = (accounts, boot, certificates, packages, reboot)
STRICT = Policy(
    secure_boot_required=True,
    unwanted_packages=("telnetd", "xmrig*"),
    reboot_within=Duration(2 * DAY),
)


def checks(policy: Policy) -> dict[str, AuditCheck]:
    return {check.name: check for module in MODULES for check in module.checks(policy)}


DEFAULT_CHECKS, STRICT_CHECKS = checks(Policy()), checks(STRICT)
COLLECTORS = ("accounts", "certificates", "packages", "reboot_required", "secure_boot")


def judge(
    name: str, value: JSON, *, strict: bool = False, at: datetime = NOW, **result: JSON
) -> Verdict:
    report = {name: {"status": "ok", "value": value, **result} for name in COLLECTORS}
    view = ClientView(cid="c", hostname="h", report=report, enrolled_at=NOW)
    return (STRICT_CHECKS if strict else DEFAULT_CHECKS)[name].judge(view, at)


NOT_UNDERSTOOD: list[JSON] = [None, [], "x", {}, {"state": "new"}, {"state": ["required"]}]


@pytest.mark.parametrize("value", NOT_UNDERSTOOD)
@pytest.mark.parametrize("name", list(STRICT_CHECKS))
def test_a_value_that_is_not_the_collectors_is_unknown(name: str, value: JSON) -> None:
    verdict = judge(name, value, strict=True)
    assert verdict.state == "unknown"
    assert "not understood" in verdict.message


@pytest.mark.parametrize("name", list(STRICT_CHECKS))
def test_an_unknown_value_is_unknown_with_its_reason(name: str) -> None:
    verdict = judge(name, {"state": "unknown", "reason": "no root"}, strict=True)
    assert (verdict.state, verdict.message) == ("unknown", "no root")


# --- reboot-required --------------------------------------------------------------------------


def test_a_machine_that_runs_its_updates_passes() -> None:
    assert judge("reboot-required", {"state": "not_required"}) is PASS


def test_a_restart_that_is_due_fails_and_says_why() -> None:
    value = {
        "state": "required",
        "reasons": ["updated packages ask for a restart"],
        "packages": ["linux-base", "libc6"],
        "live_patches": ["lp"],
    }
    verdict = judge("reboot-required", value)
    assert verdict.state == "fail"
    assert verdict.message == (
        "updated packages ask for a restart (linux-base, libc6); a live patch mends the running "
        "kernel for now. Restart the machine: sudo reboot"
    )


@pytest.mark.parametrize(
    ("since_at", "changed_at", "state"),
    [
        ("2026-10-31T12:00:00+00:00", None, "pass"),
        ("2026-10-30T12:00:00+00:00", None, "fail"),
        (None, "2026-10-31T12:00:00Z", "pass"),
        (None, "2026-10-01T12:00:00Z", "fail"),
        (None, None, "fail"),
        ("2026-12-01T12:00:00+00:00", None, "fail"),
        ("9999-12-31T23:59:59+00:00", None, "fail"),
    ],
)
def test_a_site_may_give_time_for_a_restart(
    since_at: str | None, changed_at: str | None, state: str
) -> None:
    value = {"state": "required", "since_at": since_at}
    verdict = judge("reboot-required", value, strict=True, changed_at=changed_at)
    assert verdict.state == state
    if state == "pass":
        assert verdict.valid_until == NOW + timedelta(days=1)
        assert judge("reboot-required", value, changed_at=changed_at).state == "fail"


# --- secure-boot-disabled ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, {"state": "disabled"}, {"state": "unknown"}])
def test_secure_boot_is_not_judged_unless_a_site_asks(value: JSON) -> None:
    assert DEFAULT_CHECKS["secure-boot-disabled"].needs == ()
    assert STRICT_CHECKS["secure-boot-disabled"].needs == ("secure_boot",)
    assert judge("secure-boot-disabled", value) is PASS


@pytest.mark.parametrize(
    ("value", "state", "mend"),
    [
        ({"state": "enabled"}, "pass", ""),
        ({"state": "disabled", "secure_boot": False}, "fail", "--firmware-setup"),
        ({"state": "disabled", "setup_mode": True}, "fail", "factory's keys"),
        (
            {"state": "disabled", "secure_boot": True, "shim_validates": False},
            "fail",
            "sudo mokutil --enable-validation",
        ),
        ({"state": "not_available", "reason": "a BIOS"}, "fail", "a BIOS. If it can"),
    ],
)
def test_secure_boot_where_a_site_asks_for_it(value: JSON, state: str, mend: str) -> None:
    verdict = judge("secure-boot-disabled", value, strict=True)
    assert verdict.state == state
    assert mend in verdict.message


# --- accounts ---------------------------------------------------------------------------------

ROOT = {"name": "root", "uid": 0, "password": "locked"}
ADA = {"name": "ada", "uid": 1000, "password": "set"}


def users(*found: JSON, **fields: JSON) -> JSON:
    return {"state": "available", "users": list(found), "notes": [], **fields}


def test_accounts_in_order_pass() -> None:
    for name in ("account-without-password", "extra-root-account"):
        assert judge(name, users(ROOT, ADA)) is PASS


def test_an_account_without_a_password_fails() -> None:
    verdict = judge("account-without-password", users(ROOT, ADA | {"password": "empty"}))
    assert verdict.state == "fail"
    assert "sudo passwd ada, or lock it: sudo passwd -l ada" in verdict.message


def test_a_name_that_is_no_word_is_not_put_in_a_command() -> None:
    odd = {"name": "x; reboot", "uid": 0, "password": "empty"}
    assert judge("account-without-password", users(ROOT, odd)).message.endswith(" NAME")
    sealed = {"name": "private:0123456789ab", "uid": 1000, "password": "empty"}
    assert judge("account-without-password", users(ROOT, sealed)).message.endswith(" NAME")
    # Locked, an account with uid 0 still is one: the command takes it out.
    assert judge("extra-root-account", users(ROOT, odd)).message.endswith("; sudo vipw -s")


@pytest.mark.parametrize(
    "found", [[], [ADA | {"password": "unknown"}], [ROOT, {}], [ROOT, "x"], [ADA | {"password": 1}]]
)
def test_passwords_that_are_not_known_do_not_pass(found: list[JSON]) -> None:
    value = users(*found, notes=["passwords: /etc/shadow: Permission denied"])
    verdict = judge("account-without-password", value)
    assert verdict.state == "unknown"
    assert verdict.message.endswith("can't be told: /etc/shadow: Permission denied")


def test_a_second_account_with_uid_0_fails_whatever_it_is_called() -> None:
    toor = {"name": "toor", "uid": 0, "password": "set"}
    assert "toor has uid 0" in judge("extra-root-account", users(toor, ROOT)).message
    hidden = [user | {"name": f"~{n}"} for n, user in enumerate((ROOT, toor))]
    assert judge("extra-root-account", users(*hidden)).state == "fail"
    assert judge("extra-root-account", users(ROOT | {"name": "admin"}, ADA)) is PASS


@pytest.mark.parametrize("found", [[], [ADA], [{"uid": False}], [{"uid": "0"}]])
def test_a_list_without_uid_0_is_not_complete(found: list[JSON]) -> None:
    assert judge("extra-root-account", users(*found)).state == "unknown"


def test_what_an_unknown_list_shows_counts_all_the_same() -> None:
    value = users(ROOT, ROOT | {"password": "empty"}, state="unknown", reason="so")
    for name in ("account-without-password", "extra-root-account"):
        assert judge(name, value).state == "fail"


# --- unwanted-package -------------------------------------------------------------------------


def listed(*names: str, adapter: str = "ubuntu") -> JSON:
    return {"state": "listed", "packages": dict.fromkeys(names, "1"), "adapter": adapter}


@pytest.mark.parametrize("value", [None, {"state": "off"}, listed("telnetd")])
def test_packages_are_not_judged_unless_a_site_names_some(value: JSON) -> None:
    assert DEFAULT_CHECKS["unwanted-package"].needs == ()
    assert judge("unwanted-package", value) is PASS


@pytest.mark.parametrize(
    ("value", "mend"),
    [
        (listed("bash", "telnetd"), "telnetd is installed. Remove: sudo apt purge telnetd"),
        (listed("telnetd:i386"), "sudo apt purge telnetd:i386"),
        (listed("xmrig-cuda", "telnetd", adapter="arch"), "sudo pacman -Rns telnetd xmrig-cuda"),
        (listed("telnetd", adapter="fedora"), "sudo dnf remove telnetd"),
        (listed("telnetd", adapter="x"), "the system's package manager"),
        (listed("xmrig; reboot"), "sudo apt purge NAME"),
    ],
)
def test_an_unwanted_package_fails(value: JSON, mend: str) -> None:
    verdict = judge("unwanted-package", value, strict=True)
    assert verdict.state == "fail"
    assert verdict.message.endswith(mend)


def test_a_machine_without_unwanted_packages_passes() -> None:
    assert judge("unwanted-package", listed("bash", "telnetd-doc"), strict=True) is PASS


def test_a_list_that_is_off_or_empty_does_not_pass() -> None:
    verdict = judge("unwanted-package", {"state": "off"}, strict=True)
    assert verdict.state == "unknown"
    assert "plugins: {packages: {enabled: true}}" in verdict.message
    assert judge("unwanted-package", listed(), strict=True).state == "unknown"


# --- expiring-certificate ---------------------------------------------------------------------


def certs(*days: float, state: str = "available", path: str = "/etc/ssl/a.pem") -> JSON:
    return {
        "state": state,
        "reason": "/x: gone",
        "certificates": [
            {
                "path": path,
                "subject": "CN=a",
                "not_after_at": (NOW + timedelta(days=number)).isoformat(),
            }
            for number in days
        ],
    }


def after(days: float) -> datetime:
    return NOW + timedelta(days=days)


def test_without_files_to_look_at_certificates_pass() -> None:
    assert judge("expiring-certificate", {"state": "off"}) is PASS


@pytest.mark.parametrize(
    ("value", "state", "until"),
    [
        (certs(31, 400), "pass", after(1)),
        (certs(30, 400), "fail", after(30)),
        (certs(-1, 10, 400), "fail", after(10)),
        (certs(-1, 400), "fail", after(370)),
        (certs(-1), "fail", None),
        (certs(0), "fail", None),
        (certs(), "unknown", None),
        (certs(400, state="unknown"), "unknown", after(370)),
        (certs(5, state="unknown"), "fail", after(5)),
        (certs(state="unknown"), "unknown", None),
    ],
)
def test_certificates_are_judged_by_their_ends(
    value: JSON, state: str, until: datetime | None
) -> None:
    verdict = judge("expiring-certificate", value)
    assert (verdict.state, verdict.valid_until) == (state, until)
    if until is not None and state != "unknown":
        later = judge("expiring-certificate", value, at=until)
        assert (later.state, later.message) != (verdict.state, verdict.message)


def test_an_end_that_is_not_understood_does_not_pass() -> None:
    value = certs(400)
    value["certificates"].append({"path": "/b.pem", "not_after_at": "soon"})
    verdict = judge("expiring-certificate", value)
    assert (verdict.state, verdict.valid_until) == ("unknown", after(370))


def test_a_certificate_that_ends_is_named_with_what_to_do() -> None:
    assert judge("expiring-certificate", certs(-1, 10)).message == (
        "/etc/ssl/a.pem (CN=a) expired on 2026-10-31; /etc/ssl/a.pem (CN=a) expires on 2026-11-11. "
        "Have it renewed by its authority, replace the file, and reload what uses it"
    )
    value = certs(1, path="/etc/letsencrypt/live/a/cert.pem")
    assert "sudo certbot renew" in judge("expiring-certificate", value).message


def test_a_site_sets_the_margin() -> None:
    check = checks(Policy(certificate_margin=Duration(400 * DAY)))["expiring-certificate"]
    report = {"certificates": {"status": "ok", "value": certs(31, 399)}}
    view = ClientView(cid="c", hostname="h", report=report, enrolled_at=NOW)
    assert check.judge(view, NOW).state == "fail"
    assert "another 400 days" in check.help


# --- hostile values ---------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.text(max_size=8),
    st.sampled_from(
        [
            "required", "not_required", "unknown", "enabled", "disabled", "not_available", "off",
            "available", "listed", "empty", "set", "locked", "root", "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59", "2026-11-02", "telnetd",
        ]
    ),
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "state", "reason", "users", "uid", "name", "password", "packages", "certificates",
        "not_after_at", "path", "since_at", "reasons", "notes", "setup_mode", "telnetd",
    ]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=12,
)


@given(VALUES, SCALARS)
def test_no_value_breaks_a_check(value: JSON, changed_at: JSON) -> None:
    for strict in (False, True):
        for name in STRICT_CHECKS:
            verdict = judge(name, value, strict=strict, changed_at=changed_at)
            assert verdict.state in ("pass", "fail", "unknown")
            assert verdict.message or verdict.state == "pass"
            assert verdict.valid_until is None or verdict.valid_until > NOW
