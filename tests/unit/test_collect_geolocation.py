"""The geolocation collector: off by default; when on, by access points that tell a place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, Host, HttpResponse
from qlmdm_core.testing import RecordedMachine, ReplayHost
from qlmdm_plugins_builtin.collectors.geolocation import (
    GeolocationSettings,
    collect,
    points,
    provider,
    scan,
)
from qlmdm_plugins_builtin.collectors.geolocation.points import same_place

URL = "https://geo.example.net/v1/geolocate"
ON = GeolocationSettings(enabled=True, provider_url=URL)
FIRST, SECOND, THIRD = "00:1c:42:0a:0b:01", "a4:b1:e9:00:00:02", "58:ef:68:00:00:03"
PLACE = json.dumps({"location": {"lat": 52.5200066, "lng": -13.4049541}, "accuracy": 31.5})
NMCLI = ["nmcli", "-t", "-f", "BSSID,SIGNAL,FREQ,SSID", "dev", "wifi", "list", "--rescan", "auto"]


def bss(address: str, signal: str = "-50.00", name: str = "home", seen: str = "120") -> str:
    return (
        f"BSS {address}(on wlan0)\n\tlast seen: 7.120s [boottime]\n\tTSF: 1 usec\n"
        f"\tfreq: 5180.0\n\tsignal: {signal} dBm\n\tlast seen: {seen} ms ago\n\tSSID: {name}\n"
        "\tRSN:\t * Version: 1\n"
    )


def laptop(tmp_path: Path, *, root: bool = True) -> RecordedMachine:
    machine = RecordedMachine(tmp_path, root=root).directory("/sys/class/net/lo")
    return machine.directory("/sys/class/net/wlan0/wireless")


def near(tmp_path: Path, *heard: str) -> RecordedMachine:
    text = "".join(heard or (bss(FIRST, "-48.00"), bss(SECOND, "-61.20")))
    return laptop(tmp_path).command(["iw", "dev", "wlan0", "scan"], text)


# --- on and off ---------------------------------------------------------------------------


def test_it_is_off_unless_settings_turn_it_on(tmp_path: Path) -> None:
    machine = near(tmp_path).http("POST", URL, body=PLACE)
    value = collect(machine.host(), GeolocationSettings())
    assert value["state"] == "off"
    assert "settings" in value["reason"]


def test_a_machine_is_located_coarsely(tmp_path: Path) -> None:
    asked = {
        "considerIp": False,
        "wifiAccessPoints": [
            {"macAddress": FIRST, "signalStrength": -48, "age": 120, "channel": 36},
            {"macAddress": SECOND, "signalStrength": -61, "age": 120, "channel": 36},
        ],
    }
    machine = near(tmp_path).http("POST", URL, body=PLACE, request=asked)
    machine.http("POST", URL, body="{}", request={"another": "question"})
    assert collect(machine.host(), ON) == {
        "state": "located",
        "latitude": 52.52,
        "longitude": -13.405,
        "accuracy_meters": 56,
        "source": "wireless access points, by iw",
    }


@pytest.mark.parametrize(
    "text", ["SECRET", "# of the site\nSECRET\n", "api_key=SECRET\n", "API_KEY = 'SECRET'\n"]
)
def test_the_key_is_read_from_its_file(tmp_path: Path, text: str) -> None:
    config = GeolocationSettings(enabled=True, provider_url=URL, api_key_file="/etc/site/key")
    machine = near(tmp_path).file("/etc/site/key", text)
    machine.http("POST", f"{URL}?key=SECRET", body=PLACE)
    assert collect(machine.host(), config)["state"] == "located"


def test_nowhere_is_there_a_minus_zero(tmp_path: Path) -> None:
    place = json.dumps({"location": {"lat": -0.00001, "lng": 0.0}, "accuracy": 20})
    value = collect(near(tmp_path).http("POST", URL, body=place).host(), ON)
    assert str(value["latitude"]) == "0.0"


@pytest.mark.parametrize("text", [None, "", "two\nwords\n"])
def test_a_key_that_can_not_be_read_is_unknown(tmp_path: Path, text: str | None) -> None:
    config = GeolocationSettings(enabled=True, provider_url=URL, api_key_file="/etc/site/key")
    machine = near(tmp_path).http("POST", URL, body=PLACE)
    if text is not None:
        machine.file("/etc/site/key", text)
    value = collect(machine.host(), config)
    assert value["state"] == "unknown"
    assert value["latitude"] is None


class Remembering(ReplayHost):
    """A recorded machine, with what its collector remembers from another run."""

    def __init__(self, machine: RecordedMachine, kept: JSON = None) -> None:
        super().__init__(machine.write())
        self.remember(kept)


def test_the_provider_is_not_asked_twice_about_one_place(tmp_path: Path) -> None:
    first = Remembering(near(tmp_path / "a").http("POST", URL, body=PLACE))
    value = collect(first, ON)
    again = near(tmp_path / "b", bss(SECOND), bss(THIRD))  # nobody answers there
    assert collect(Remembering(again, first.recall()), ON) == value


@pytest.mark.parametrize(
    "change",
    [
        {"at": 0},
        {"at": 9e12},
        {"of": ["https://elsewhere.example", 3]},
        {"bssids": ["00:16:3e:00:00:99"]},
        {"bssids": None},
        {"at": "yesterday"},
    ],
)
def test_what_is_old_or_of_elsewhere_or_damaged_is_asked_again(
    tmp_path: Path, change: dict[str, JSON]
) -> None:
    first = Remembering(near(tmp_path / "a").http("POST", URL, body=PLACE))
    collect(first, ON)
    kept = {**first.recall(), **change}
    assert collect(Remembering(near(tmp_path / "b"), kept), ON)["state"] == "unknown"


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("abc", "abc", True),
        ("abcd", "ab", True),
        ("abcd", "cdef", True),
        ("abcd", "defg", False),
        ("", "", False),
        ("a", "", False),
    ],
)
def test_the_same_place_is_half_of_the_same_neighbours(before: str, now: str, same: bool) -> None:
    assert same_place(before, now) is same


# --- which access points ------------------------------------------------------------------


@pytest.mark.parametrize(
    "unfit",
    [
        bss(THIRD, name="Cafe_nomap"),
        bss(THIRD, name="x_optout_nomap"),
        bss("5a:ef:68:00:00:03"),  # locally administered
        bss("59:ef:68:00:00:03"),  # multicast
        bss("ff:ff:ff:ff:ff:ff"),
        bss("00:00:5e:00:01:0a"),
        bss(THIRD, signal="0.00"),
        bss(THIRD, signal="12.00"),
        bss(THIRD, signal="-140.00"),
        bss(THIRD, seen="61000"),
        bss(FIRST),  # the same once more
        "",
    ],
)
def test_what_tells_no_place_is_left_out(tmp_path: Path, unfit: str) -> None:
    value = collect(near(tmp_path, bss(FIRST), unfit).host(), ON)
    assert value["state"] == "unknown"
    assert "only 1 usable" in value["reason"]


def test_hidden_networks_tell_a_place_too() -> None:
    text = bss(FIRST, name="") + bss(SECOND, name=r"\x00\x00\x00")
    assert [point.name for point in points.parse_iw(text)] == ["", ""]


def test_only_the_strongest_are_sent_in_the_order_of_their_addresses() -> None:
    heard = [points.AccessPoint(f"00:1c:42:00:00:{n:02x}", -40 - n) for n in range(30)]
    kept = points.usable(reversed(heard), max_age_ms=60000, limit=3)
    assert [point.bssid[-2:] for point in kept] == ["00", "01", "02"]


@pytest.mark.parametrize(
    ("mhz", "channel"),
    [
        (2412, 1),
        (2472, 13),
        (2484, 14),
        (5180, 36),
        (5885, 177),
        (5955, 1),
        (900, None),
        (None, None),
    ],
)
def test_channels(mhz: int | None, channel: int | None) -> None:
    assert points.AccessPoint(FIRST, -1, "", mhz).channel == channel


# --- where they come from -----------------------------------------------------------------


def heard_by(host: Host) -> tuple[str, list[tuple[str, int]]]:
    found = scan.hear(host, ON)
    return found.tool, [(point.bssid, point.signal_dbm) for point in found.points]


def test_a_busy_card_still_knows_what_it_heard_last(tmp_path: Path) -> None:
    machine = laptop(tmp_path)
    busy = "command failed: Device or resource busy (-16)"
    machine.command(["iw", "dev", "wlan0", "scan"], stderr=busy, returncode=240)
    text = bss(FIRST) + f"BSS {SECOND} (on wlan0) -- associated\n\tsignal: -70.50 dBm\n"
    machine.command(["iw", "dev", "wlan0", "scan", "dump"], text)
    assert heard_by(machine.host()) == ("iw", [(FIRST, -50), (SECOND, -70)])


def test_networkmanager_is_asked_without_root(tmp_path: Path) -> None:
    text = (
        r"00\:1C\:42\:0A\:0B\:01:100:2412 MHz:My \: Cafe" + "\n"
        r"A4\:B1\:E9\:00\:00\:02:89:5180 MHz:" + "\n"
        r"58\:EF\:68\:00\:00\:03:84:5180 MHz:Guests_nomap" + "\n"
    )
    machine = laptop(tmp_path, root=False).command(NMCLI, text)
    assert heard_by(machine.host()) == ("nmcli", [(FIRST, -50), (SECOND, -55)])


def test_the_table_of_networkmanager() -> None:
    text = (
        "IN-USE  BSSID              SSID          MODE   CHAN  RATE        SIGNAL  BARS  SECURITY\n"
        f"        {FIRST.upper()}  Two Words 5G  Infra  36    270 Mbit/s  100     ####  WPA2\n"
        f"*       {SECOND.upper()}  --            Infra  1     54 Mbit/s   9       _     --\n"
    )
    assert [(p.bssid, p.signal_dbm) for p in points.parse_nmcli(text)] == [
        (FIRST, -50),
        (SECOND, -95),
    ]


def test_wpa_supplicant(tmp_path: Path) -> None:
    text = (
        "bssid / frequency / signal level / flags / ssid\n"
        f"{FIRST}\t2437\t-41\t[WPA2-PSK-CCMP][ESS]\thome\n{SECOND}\t5180\t-72\t[ESS]\t\n"
    )
    machine = laptop(tmp_path, root=False).command(["wpa_cli", "-i", "wlan0", "scan_results"], text)
    assert heard_by(machine.host()) == ("wpa_cli", [(FIRST, -41), (SECOND, -72)])


def test_iwlist(tmp_path: Path) -> None:
    text = (
        "wlan0     Scan completed :\n"
        f"          Cell 01 - Address: {FIRST.upper()}\n"
        '                    ESSID:"home"\n                    Frequency:2.437 GHz (Channel 6)\n'
        "                    Quality=63/70  Signal level=-47 dBm\n"
        f"          Cell 02 - Address: {SECOND.upper()}\n"
        '                    Signal level=70/100\n                    ESSID:""\n'
    )
    machine = laptop(tmp_path, root=False).command(["iwlist", "wlan0", "scan"], text)
    assert heard_by(machine.host()) == ("iwlist", [(FIRST, -47), (SECOND, -65)])


def test_a_machine_without_a_wireless_card_asks_nobody(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).directory("/sys/class/net/enp3s0")
    machine.command(NMCLI, r"00\:1C\:42\:0A\:0B\:01:100:2412 MHz:x" + "\n")
    value = collect(machine.host(), ON)
    assert value["state"] == "unknown"
    assert "no wireless network card" in value["reason"]


@pytest.mark.parametrize(("second", "state"), [("1", "unknown"), ("0", "located")])
def test_a_radio_that_is_switched_off_hears_nothing(
    tmp_path: Path, second: str, state: str
) -> None:
    machine = near(tmp_path).http("POST", URL, body=PLACE)
    for number, kind, soft in ((0, "bluetooth", "0"), (1, "wlan", "1"), (2, "wlan", second)):
        folder = f"/sys/class/rfkill/rfkill{number}"
        machine.file(f"{folder}/type", kind + "\n").file(f"{folder}/soft", soft + "\n")
        machine.file(f"{folder}/hard", "0\n")
    assert collect(machine.host(), ON)["state"] == state


def test_what_the_tools_say_is_the_reason(tmp_path: Path) -> None:
    machine = laptop(tmp_path)
    down = "command failed: Network is down (-100)"
    machine.command(["iw", "dev", "wlan0", "scan"], stderr=down, returncode=156)
    value = collect(machine.host(), ON)
    assert value["state"] == "unknown"
    assert "Network is down" in value["reason"]


# --- the provider -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, '{"error": {"code": 404}}', "knows none"),
        (400, '{"error": {"errors": [{"reason": "keyInvalid"}]}}', "400: keyInvalid"),
        (403, '{"error": {"errors": [{"reason": "dailyLimitExceeded"}]}}', "dailyLimitExceeded"),
        (500, "<html>", "answered 500"),
        (400, '{"error": {"message": "key SECRET-1 is wrong"}}', "answered 400"),
        (200, "<html>", "not understood"),
        (200, '{"location": {"lat": "x", "lng": 1}, "accuracy": 5}', "not understood"),
        (200, '{"location": {"lat": 91, "lng": 1}, "accuracy": 5}', "no place on earth"),
        (200, '{"location": {"lat": NaN, "lng": 1}, "accuracy": 5}', "no place on earth"),
        (200, '{"location": {"lat": 9, "lng": 1}, "accuracy": 25000}', "too coarse"),
    ],
)
def test_an_answer_that_is_none_is_unknown(
    tmp_path: Path, status: int, body: str, reason: str
) -> None:
    machine = near(tmp_path).http("POST", URL, status, body)
    value = collect(machine.host(), ON)
    assert value["state"] == "unknown"
    assert reason in value["reason"]
    assert "SECRET" not in value["reason"]


@pytest.mark.parametrize("url", ["http://geo.example.net/", "https:///x", "file:///etc/passwd", ""])
def test_the_question_never_travels_in_the_clear(tmp_path: Path, url: str) -> None:
    machine = near(tmp_path).http("POST", url, body=PLACE)
    config = GeolocationSettings(enabled=True, provider_url=url)
    value = collect(machine.host(), config)
    assert value["state"] == "unknown"
    assert "https" in value["reason"]


def test_the_key_stays_out_of_the_reason_when_nobody_answers() -> None:
    class Broken:
        def http(self, method: str, url: str, **_: JSON) -> HttpResponse:
            return HttpResponse(status=0, error=f"could not reach {url} with TOP")

    place = provider.ask(Broken(), URL, "TOP", [])  # type: ignore[arg-type]
    assert place.why == "geo.example.net: could not reach geo.example.net with …"


# --- any text -----------------------------------------------------------------------------

VOCABULARY = f"""BSS {FIRST}(on wlan0) signal: -50.00 dBm last seen: 9 ms ago SSID: x {SECOND}
00\\:1C\\:42\\:0A\\:0B\\:01:100:2412 MHz:x Infra 36 270 Mbit/s Cell 01 - Address: Signal level=70/0
-47 dBm ESSID:"x" Frequency:2.437 GHz 2437"""
TEXTS = st.one_of(
    st.text(), st.lists(st.sampled_from([*VOCABULARY.split(), "\n", "\t", "\n\t"])).map(" ".join)
)


@given(TEXTS)
def test_no_text_breaks_a_reader_of_scans(text: str) -> None:
    for parse in (points.parse_iw, points.parse_nmcli, points.parse_wpa, points.parse_iwlist):
        found = parse(text)
        kept = points.usable(found, max_age_ms=60000, limit=20)
        assert len(kept) <= len(found)
        assert provider.request(kept)["considerIp"] is False


@given(st.one_of(st.text(), st.dictionaries(st.text(), st.floats()).map(json.dumps)))
def test_no_text_breaks_the_reader_of_answers(text: str) -> None:
    assert provider.parse(text).why


@pytest.mark.parametrize(
    "line",
    [
        "a" * 100_000 + "\\",
        "00:11:22:33:44:55 " * 6000,
        "00:11:22:33:44:55 Infra 1 bit/s " * 3000,
        " " * 100_000,
        "Cell 01 - Address: 00:11:22:33:44:55 " * 3000,
    ],
)
def test_long_lines_are_read_once(line: str) -> None:
    for parse in (points.parse_iw, points.parse_nmcli, points.parse_wpa, points.parse_iwlist):
        assert parse(line) == []


def test_memory_that_makes_no_sense_is_none(tmp_path: Path) -> None:
    machine = near(tmp_path, bss(FIRST), bss(SECOND))
    machine.http("POST", URL, body=PLACE)
    for kept in ({"value": 1, "bssids": 5, "at": 1}, {"value": 1, "bssids": [], "at": 10**400}):
        host = machine.host()
        host.recall = lambda kept=kept: kept  # type: ignore[method-assign, misc]
        assert collect(host, ON)["state"] == "located"
