"""The commented settings files that setup commands write."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from qlmdm_core import settings
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.settings_template import template


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (ServerSettings, {"url": "https://x"}),
        (
            ServerSettings,
            {
                "url": 'https://x/"#: é',
                "tls": {"certificate": "/a b", "key": "/b"},
                "trusted_proxies": ("10.0.0.1",),
                "root_expires_after": 86400.0 * 9,
                "limits": {"body": 5_000_000},
            },
        ),
        (ClientSettings, {"server_url": "https://x"}),
    ],
)
def test_a_template_is_read_as_what_was_set_and_else_the_defaults(
    schema: type, values: dict[str, Any]
) -> None:
    found: Any = settings.parse(template(schema, values, "About."), schema).core
    plain: Any = settings.parse(
        f"{'url' if schema is ServerSettings else 'server_url'}: https://x", schema
    )
    expected = dict(values)
    for name in ("tls", "limits"):
        if name in values:
            expected[name] = dataclasses.replace(getattr(plain.core, name), **values[name])
    assert found == dataclasses.replace(plain.core, **expected)


@pytest.mark.parametrize("schema", [ServerSettings, ClientSettings])
def test_every_key_stands_in_the_template_with_its_help(schema: type) -> None:
    text = template(schema, {})
    for field in dataclasses.fields(schema):
        assert f"{field.name}:" in text
        assert str(field.metadata.get("help", ""))[:40] in text


def test_taking_the_marks_away_gives_the_defaults() -> None:
    text = template(ServerSettings, {"url": "https://x"})
    body = [line[2:] for line in text.splitlines() if line.startswith("#   ") or "limits:" in line]
    start = body.index("limits:")
    end = next(n for n in range(start, len(body)) if body[n].strip().startswith("clock_skew"))
    section = "\n".join(["url: https://x", *body[start : end + 1]])
    found = settings.parse(section, ServerSettings).core
    assert found == settings.parse("url: https://x", ServerSettings).core
