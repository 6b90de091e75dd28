"""Our own checks keep the contract where a site asks for more than the defaults do.

`qlmdm-plugins check` tries them by the settings that are there, and so mostly by the defaults.
"""

from __future__ import annotations

import pytest

from qlmdm_core import settings
from qlmdm_core.api import AuditCheck
from qlmdm_core.plugins.check.judging import judge_edges
from qlmdm_core.server.settings import ServerSettings
from qlmdm_plugins_builtin import hooks_server as builtin
from qlmdm_plugins_eset import hooks_server as eset

DEMANDING = """\
url: https://qlmdm.example.com
plugins:
  builtin:
    reboot_within: 2 days
    secure_boot_required: true
    unwanted_packages: [telnetd, "xmrig*"]
    location_required: true
"""


def demanding_checks() -> list[AuditCheck]:
    loaded = settings.parse(DEMANDING, ServerSettings, "the test")
    for hooks in (builtin, eset):
        loaded.register(hooks.qlmdm_register_settings())
    return [
        *builtin.qlmdm_register_audit_checks(settings=loaded),
        *eset.qlmdm_register_audit_checks(settings=loaded),
    ]


@pytest.mark.parametrize("check", demanding_checks(), ids=lambda check: check.name)
def test_no_report_that_nobody_thought_of_breaks_a_check(check: AuditCheck) -> None:
    assert [str(finding) for finding in judge_edges(check) if finding.state != "ok"] == []
