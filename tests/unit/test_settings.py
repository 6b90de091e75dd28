"""Settings: what is accepted, and how a mistake is named."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import settings
from qlmdm_core.api import SettingsSection
from qlmdm_core.client.settings import ClientSettings, StandaloneSettings
from qlmdm_core.errors import NotSetUpError, PluginError, SettingsError
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.settings import setting
from qlmdm_core.units import (
    Duration,
    Size,
    parse_duration,
    parse_size,
    say_duration,
    write_duration,
    write_size,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = setting(1, "How deep.", minimum=0, maximum=9)


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str = setting(help="Required.")
    pause: Duration = setting(parse_duration("5m"), "A pause.")
    room: Size = setting(parse_size("1 MB"), "Some room.")
    loud: bool = setting(False, "Noise.")
    ratio: float = setting(0.5, "A ratio.", minimum=0)
    kind: Literal["red", "blue"] = setting("red", "A colour.")
    words: tuple[str, ...] = setting((), "Words.")
    note: str | None = setting(None, "A note.")
    inner: Inner = dataclasses.field(default_factory=Inner)
    table: dict[str, Inner] = dataclasses.field(default_factory=dict)
    anything: Any = setting(None, "Anything.")


def parse(text: str) -> Example:
    return settings.parse(text, Example, "x.yml").core


def test_what_is_not_set_has_its_default() -> None:
    example = parse("name: n")
    assert (example.pause, example.room, example.inner.depth) == (300.0, 1_000_000, 1)


def test_every_type_is_read() -> None:
    example = parse(
        "name: no\npause: 2 days\nroom: 4KiB\nloud: yes\nratio: 2\nkind: blue\n"
        "words: [on, 010]\nnote: null\ninner: {depth: 3}\ntable: {a: {depth: 4}}\n"
        "anything: {a: [1, off, true, 0.5, null, '7']}\n"
    )
    assert example.name == "no"
    assert example.pause == 172800
    assert example.room == 4096
    assert example.loud is True
    assert example.ratio == 2.0
    assert example.words == ("on", "010")
    assert example.note is None
    assert example.table == {"a": Inner(depth=4)}
    assert example.anything == {"a": [1, "off", True, 0.5, None, "7"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae: x", "x.yml:1: nmae: unknown key; did you mean name?"),
        ("name: n\ninner:\n  dpeth: 1", "x.yml:3: inner.dpeth: unknown key; did you mean depth?"),
        ("name: a\nname: b", "x.yml:2: name: set twice, first on line 1"),
        ("name: n\n\tloud: true", "x.yml:2: a tab can't indent YAML; use spaces"),
        ("name: n\npause: 5", "x.yml:2: pause: expected a number with a unit"),
        ("name: n\npause: 5 parsecs", "x.yml:2: pause: expected a number with a unit"),
        ("name: n\nroom: -1 MB", "x.yml:2: room: expected a number with a unit"),
        ("name: n\nloud: maybe", "x.yml:2: loud: expected true or false; got 'maybe'"),
        ("name: n\nloud: 'true'", "x.yml:2: loud: expected true or false"),
        ("name: n\nkind: green", "x.yml:2: kind: expected one of red, blue; got 'green'"),
        ("name: n\nwords: red", "x.yml:2: words: expected a list"),
        ("name: n\nwords: [[a]]", "x.yml:2: words[0]: expected text, not a list or mapping"),
        ("name: n\ninner: 3", "x.yml:2: inner: expected `key: value` lines"),
        ("name: n\ninner: {depth: 10}", "x.yml:2: inner.depth: expected at most 9"),
        ("name: n\ninner: {depth: 1.5}", "x.yml:2: inner.depth: expected a whole number"),
        ("name: n\ntable: {a: {depth: x}}", "x.yml:2: table.a.depth: expected a whole number"),
        ("name: null", "x.yml:1: name: expected text; got 'null'"),
        ("", "x.yml: name: required, but not set"),
        ("- a", "x.yml:1: expected `key: value` lines"),
        ("name: n\nplugins: 3", "x.yml:2: plugins: expected a mapping of plugin sections"),
        ("name: [", "x.yml:1: "),
        ("name: a\x01", "x.yml:1: a control character"),
        ("name: &a x\nnote: *a\nother: !!python/name:os.system x", "x.yml:3: other: unknown key"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_status == 2


@given(st.text(max_size=200))
def test_any_text_is_settings_or_a_settings_error(text: str) -> None:
    with contextlib.suppress(SettingsError):
        parse(text)


def test_a_missing_file_says_how_to_get_one(tmp_path) -> None:
    with pytest.raises(NotSetUpError, match="run the setup command"):
        settings.load(str(tmp_path / "none.yml"), Example)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "settings.yml"
    file.write_text("name: n\n")
    file.chmod(0)
    root = os.geteuid() == 0  # who may read everything
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(SettingsError) as caught:
            settings.load(str(file), Example)
    finally:
        if root:
            os.seteuid(0)
    assert str(caught.value) == f"{file}: can't be read: Permission denied"
    assert caught.value.exit_status == 2


def test_what_is_not_a_file_of_text_is_refused(tmp_path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        settings.load(str(tmp_path), Example)
    bad = tmp_path / "bad.yml"
    bad.write_bytes(b"name: n\nnote: \xff\n")
    with pytest.raises(SettingsError, match=r"bad\.yml:2: not UTF-8"):
        settings.load(str(bad), Example)
    bad.write_bytes(b"#" * (settings.MAX_FILE_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than 1 MiB"):
        settings.load(str(bad), Example)


def test_a_plugin_gets_its_section_checked() -> None:
    loaded = settings.parse("name: n\nplugins:\n  badge: {depth: 2}\n", Example, "x.yml")
    loaded.register([SettingsSection(name="badge", schema=Inner)])
    assert loaded.section("badge") == Inner(depth=2)
    loaded.check_sections()


def test_a_section_that_no_plugin_registered_is_a_mistake() -> None:
    loaded = settings.parse("name: n\nplugins:\n  bagde: {depth: 2}\n", Example, "x.yml")
    loaded.register([SettingsSection(name="badge", schema=Inner)])
    assert loaded.section("badge") == Inner()
    with pytest.raises(SettingsError, match=r"x.yml:3: plugins.bagde: .* did you mean badge\?"):
        loaded.check_sections()


def test_a_section_that_was_never_registered_is_the_plugins_mistake() -> None:
    with pytest.raises(PluginError, match="not registered"):
        settings.parse("name: n", Example).section("other")


@pytest.mark.parametrize("text", ["server_url: ftp://x", "server_url: ''"])
def test_a_server_url_must_be_http(text: str) -> None:
    with pytest.raises(SettingsError, match="expected a URL"):
        settings.parse(text, ClientSettings)


def test_the_built_in_settings_need_no_file() -> None:
    assert settings.defaults(StandaloneSettings).core.poll_interval == 60
    assert settings.parse("url: https://q", ServerSettings).core.limits.clock_skew == 300


@given(st.floats(min_value=0, max_value=1e9), st.sampled_from(["s", "m", "hours", "d", "week"]))
def test_durations_scale_by_their_unit(number: float, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "hours": 3600, "d": 86400, "week": 604800}[unit]
    text = f"{number:.3f} {unit}"
    if float(f"{number:.3f}") * seconds <= 100 * 365 * 86400:
        assert parse_duration(text) == float(f"{number:.3f}") * seconds


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 0


@given(st.integers(0, 10**7))
def test_what_is_written_is_read_as_the_same(number: int) -> None:
    assert parse_duration(write_duration(number)) == number
    assert parse_size(write_size(number)) == number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (90000, "1 day")],
)
def test_a_duration_is_said_in_its_largest_unit(seconds: float, text: str) -> None:
    assert say_duration(seconds) == text
