"""What this distribution gives to clients: the adapter to Ubuntu, Debian and their relatives."""

from __future__ import annotations

from qlmdm_core import hookimpl
from qlmdm_core.api import DistroAdapter
from qlmdm_plugins_ubuntu.adapter import AptAdapter


@hookimpl
def qlmdm_register_distros() -> list[DistroAdapter]:
    return [AptAdapter()]
