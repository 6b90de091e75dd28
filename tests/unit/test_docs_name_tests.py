"""Pages that name tests name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NAMED = re.compile(r"`(?:tests/\w+/)?((?:test|in|vm)_\w+\.py)::(test_\w+)")
PAGES = [page for page in ("security.md", "reliability.md") if (ROOT / "docs" / page).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    files: dict[str, str] = {}
    for pattern in ("test_*.py", "own_root/in_*.py", "vm/vm_*.py"):
        for path in (ROOT / "tests").rglob(pattern):
            files[path.name] = path.read_text()
    named = NAMED.findall((ROOT / "docs" / page).read_text())
    assert named
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"^( {{4}})?def {test}\(", files.get(file, ""), re.MULTILINE)
    ]
    assert missing == []
