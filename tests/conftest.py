"""What the whole suite shares."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Nothing that a test starts can have power over this machine (client/wipe/power.py), whatever
# it imports. Without this, the rest still holds: docs/security.md.
os.environ["QLMDM_NEVER_WIPE"] = "a test suite is running"

# How long an example takes says more about the machine than about the code.
settings.register_profile("qlmdm", deadline=None)
settings.load_profile("qlmdm")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: the sockets of gpg's agents lie below it, and the path of a
    socket has 107 bytes at most (unix(7)); pytest's own is too long for that."""
    with tempfile.TemporaryDirectory(prefix="qlmdm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
