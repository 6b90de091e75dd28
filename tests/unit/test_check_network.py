"""Verdicts on firewall, ssh and location: one test for each row, and nonsense never passes."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, AuditCheck, ClientView, Verdict
from qlmdm_plugins_builtin.checks import network
from qlmdm_plugins_builtin.policy import Policy

NOW = datetime(2026, 11, 3, tzinfo=timezone.utc)
REQUIRED = Policy(location_required=True)


def check_named(name: str, policy: Policy | None = None) -> AuditCheck:
    return {check.name: check for check in network.checks(policy or Policy())}[name]


def judge(name: str, collector: str, value: JSON, policy: Policy | None = None) -> Verdict:
    client = ClientView(
        cid="c1",
        hostname="laptop7",
        report={collector: {"status": "ok", "value": value}},
        enrolled_at=NOW,
    )
    return check_named(name, policy).judge(client, NOW)


def firewall(ipv4: str, ipv6: str, **more: JSON) -> Verdict:
    states = (ipv4, ipv6)
    worst = "off" if "off" in states else "unknown" if "unknown" in states else "on"
    value = {"state": worst, "ipv4": ipv4, "ipv6": ipv6, **more}
    return judge("firewall-disabled", "firewall", value)


def ssh(state: str, login: JSON, **more: JSON) -> list[Verdict]:
    """The verdicts about people and about root, for a value that says the same of both."""
    value = {"state": state, "password_login": login, "root_password_login": login, **more}
    names = ("ssh-password-authentication", "ssh-root-password-authentication")
    return [judge(name, "sshd", value) for name in names]


def location(value: JSON, policy: Policy | None = None) -> Verdict:
    return judge("no-location", "geolocation", value, policy)


# --- firewall -------------------------------------------------------------------------------


def test_a_firewall_for_both_families_passes() -> None:
    assert firewall("on", "on").state == "pass"


@pytest.mark.parametrize(
    ("families", "more", "said"),
    [
        (
            ("off", "off"),
            {"evidence": {"ipv4": "no rules", "ipv6": "no rules"}, "installed": ["ufw"]},
            "IPv4 is open (no rules); IPv6 is open (no rules). Turn it on: sudo ufw enable",
        ),
        (("off", "on"), {"installed": ["firewalld"]}, "systemctl enable --now firewalld"),
        (("off", "off"), {"installed": []}, "Install ufw or firewalld"),
        (("on", "off"), {"front_end": "ufw"}, "/etc/default/ufw has IPV6=yes"),
        (("off", "off"), {"front_end": "ufw"}, "sudo ufw default deny incoming"),
        (("off", "off"), {"front_end": "firewalld"}, "--set-default-zone=public"),
        (("on", "off"), {"front_end": "nftables"}, "Give IPv6 the same rules"),
        (("unknown", "off"), {}, "IPv6 is open. Install"),
    ],
)
def test_an_open_family_fails_with_what_to_type(
    families: tuple[str, str], more: dict[str, JSON], said: str
) -> None:
    verdict = firewall(*families, **more)
    assert verdict.state == "fail"
    assert said in verdict.message
    assert verdict.evidence["ipv4"] == families[0]


def test_a_firewall_that_contradicts_itself_does_not_pass() -> None:
    value = {"state": "on", "ipv4": "on", "ipv6": "off"}
    assert judge("firewall-disabled", "firewall", value).state == "fail"
    for ipv6 in ("unknown", None, "yes"):
        doubtful: JSON = {"state": "on", "ipv4": "on", "ipv6": ipv6}
        assert judge("firewall-disabled", "firewall", doubtful).state == "unknown"
    verdict = judge("firewall-disabled", "firewall", {"state": "off"})
    assert (verdict.state, verdict.message[:17]) == ("fail", "no firewall is on")


def test_a_firewall_that_could_not_be_read_is_unknown_with_its_reason() -> None:
    verdict = firewall("unknown", "on", reason="nft needs root")
    assert (verdict.state, verdict.message) == ("unknown", "nft needs root")
    assert firewall("unknown", "unknown").message == "no reason was reported"


# --- ssh ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "login", "more", "verdict"),
    [
        ("not_running", None, {}, "pass"),
        ("not_running", True, {}, "pass"),
        ("unknown", False, {"other_servers": ["dropbear"], "reason": "x"}, "unknown"),
        ("running", False, {"other_servers": ["dropbear"], "reason": "x"}, "unknown"),
        ("running", None, {"other_servers": ["dropbear"], "reason": "x"}, "unknown"),
        ("running", True, {}, "fail"),
        ("running", True, {"other_servers": ["dropbear"]}, "fail"),
        ("running", False, {}, "pass"),
        ("unknown", False, {}, "pass"),
        ("unknown", True, {"reason": "x"}, "unknown"),
        ("unknown", None, {"reason": "x"}, "unknown"),
        ("running", None, {"reason": "x"}, "unknown"),
        ("running", "no", {"reason": "x"}, "unknown"),
    ],
)
def test_ssh(state: str, login: JSON, more: dict[str, JSON], verdict: str) -> None:
    found = ssh(state, login, **more)
    assert [item.state for item in found] == [verdict, verdict]
    if verdict == "unknown":
        assert found[0].message == "x"


def test_people_and_root_are_judged_apart() -> None:
    value = {"state": "running", "password_login": True, "root_password_login": False}
    assert judge("ssh-password-authentication", "sshd", value).state == "fail"
    assert judge("ssh-root-password-authentication", "sshd", value).state == "pass"


def test_a_password_that_is_enough_fails_with_evidence_and_what_to_do() -> None:
    settings = {
        "passwordauthentication": "yes",
        "kbdinteractiveauthentication": "no",
        "permitrootlogin": "yes",
    }
    people, root = ssh(
        "running",
        True,
        ports=[22, 2022],
        evidence={
            "source": "sshd -T",
            "settings": settings,
            "units": {"ssh.socket": {"active": "active"}},
        },
        note="it depends on Match User backup (/etc/ssh/sshd_config line 4)",
    )
    assert people.message == (
        "sshd lets people in with a password on port 22, 2022 (passwordauthentication yes, "
        "kbdinteractiveauthentication no, by sshd -T) (it depends on Match User backup "
        "(/etc/ssh/sshd_config line 4)). Put PasswordAuthentication no and "
        "KbdInteractiveAuthentication no into that Match block, then nothing more: "
        "sshd is started for each connection, or at the next one"
    )
    assert "lets root in" in root.message
    assert "permitrootlogin yes" in root.message
    assert "PermitRootLogin prohibit-password" in root.message


def test_without_evidence_the_message_is_still_a_sentence() -> None:
    people, _ = ssh("running", True)
    assert people.message.startswith("sshd lets people in with a password. Put Password")
    assert people.message.endswith("sudo systemctl reload sshd")


def test_a_server_that_is_not_judged_is_named() -> None:
    people, _ = ssh("running", False, other_servers=["dropbear"])
    assert people.message == "dropbear lets people in, too; it is not judged"


SERVICE = {"sshd.service": {"active": "active", "enabled": "enabled"}}


@pytest.mark.parametrize(
    ("os_info", "units", "command"),
    [
        ({"id": "arch"}, SERVICE, "of /etc/ssh/sshd_config, then: sudo systemctl reload sshd"),
        ({"id": "debian"}, {"ssh.service": {"active": "active"}}, ": sudo systemctl reload ssh"),
        ({"id": "ubuntu"}, {"ssh.socket": {"active": "active"},
                            "ssh.service": {"active": "active"}}, "systemctl reload ssh"),
        ({"id": "ubuntu"}, {"ssh.socket": {"active": "active"},
                            "ssh.service": {"active": "inactive"}}, "then nothing more"),
        ({"id": "opensuse-leap"}, SERVICE, "into /etc/ssh/sshd_config.d/00-passwords.conf, then:"),
        ({"id": "alpine"}, {}, "doas rc-service sshd reload"),
        ({"id": "gentoo"}, {}, "sudo rc-service sshd reload"),
        ({"id": "void"}, {}, "sudo sv hup sshd"),
        ({"id": "mx", "id_like": ["debian"]}, {}, "sudo service ssh reload"),
        ({"id": "slackware"}, {}, "sudo /etc/rc.d/rc.sshd restart"),
        ({"id": "devuan", "id_like": ["debian"]}, {}, "sudo service ssh reload"),
        ({"id": "nixos"}, SERVICE, "configuration.nix, then: sudo nixos-rebuild switch"),
        ({"id": "linuxmint", "id_like": ["ubuntu", "debian"]}, {}, "sudo systemctl reload ssh"),
        ({"id": "fedora"}, {}, "sudo systemctl reload sshd"),
    ],
)  # fmt: skip
def test_message_names_the_command_of_the_distribution(
    os_info: JSON, units: JSON, command: str
) -> None:
    value = {"state": "running", "password_login": True, "evidence": {"units": units}}
    report = {"sshd": {"value": value}, "os_info": {"value": os_info}}
    client = ClientView(cid="c1", hostname="a", report=report, enrolled_at=NOW)
    verdict = check_named("ssh-password-authentication").judge(client, NOW)
    assert command in verdict.message


# --- location -------------------------------------------------------------------------------

PLACE = {"state": "located", "latitude": 52.5, "longitude": 0, "accuracy_meters": 100}


@pytest.mark.parametrize(
    ("value", "required", "otherwise"),
    [
        ({"state": "off", "reason": "not turned on"}, "fail", "pass"),
        (PLACE, "pass", "pass"),
        ({"state": "unknown", "reason": "no card"}, "unknown", "unknown"),
        ({"state": "located"}, "unknown", "unknown"),
        ({**PLACE, "latitude": "52"}, "unknown", "unknown"),
        ({"sealed": "…"}, "unknown", "unknown"),
        (None, "unknown", "unknown"),
    ],
)
def test_location(value: JSON, required: str, otherwise: str) -> None:
    assert location(value, REQUIRED).state == required
    assert location(value).state == otherwise


@pytest.mark.parametrize("report", [{}, {"geolocation": {"status": "timeout"}}])
def test_a_place_that_nobody_asked_for_may_be_missing(report: dict[str, dict[str, JSON]]) -> None:
    client = ClientView(cid="c1", hostname="laptop7", report=report, enrolled_at=NOW)
    assert check_named("no-location").needs == ()
    assert check_named("no-location").judge(client, NOW).state == "pass"
    assert check_named("no-location", REQUIRED).needs == ("geolocation",)


@pytest.mark.parametrize("policy", [REQUIRED, Policy()])
@pytest.mark.parametrize(
    ("sealed", "verdict"),
    [("-----BEGIN PGP MESSAGE-----", "pass"), (None, "unknown"), ("", "unknown"), (7, "unknown")],
)
def test_a_place_that_only_keepers_can_read_is_told(
    policy: Policy, sealed: JSON, verdict: str
) -> None:
    assert location({"state": "located", "sealed": sealed}, policy).state == verdict
    assert location({"state": "unknown", "sealed": sealed}, policy).state == "unknown"


def test_a_missing_place_says_why_and_what_to_do() -> None:
    verdict = location({"state": "off", "reason": "not turned on"}, REQUIRED)
    assert "not turned on" in verdict.message
    assert "enabled: true" in verdict.message
    assert verdict.evidence == {"state": "off", "reason": "not turned on"}
    assert location({"state": "unknown", "reason": "no card"}).message == "no card"


# --- nonsense -------------------------------------------------------------------------------

NONSENSE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from(["on", "off", "unknown", "running", "located"]),
    ),
    lambda inner: st.dictionaries(
        st.sampled_from(["state", "ipv4", "evidence", "ports", "reason", "installed", "settings"]),
        st.one_of(inner, st.lists(inner, max_size=2)),
    ),
)


@given(NONSENSE)
def test_nonsense_never_passes(value: JSON) -> None:
    for name, collector in (
        ("firewall-disabled", "firewall"),
        ("ssh-password-authentication", "sshd"),
        ("ssh-root-password-authentication", "sshd"),
        ("no-location", "geolocation"),
    ):
        verdict = judge(name, collector, value, REQUIRED)
        assert verdict.state in ("fail", "unknown")
        assert verdict.message
