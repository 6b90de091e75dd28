"""What this distribution gives to clients: the adapter to Fedora, RHEL and their relatives."""

from __future__ import annotations

from qlmdm_core import hookimpl
from qlmdm_core.api import DistroAdapter
from qlmdm_fedora.adapter import FedoraAdapter


@hookimpl
def qlmdm_register_distros() -> list[DistroAdapter]:
    return [FedoraAdapter()]
