"""Which machine the tests here are run in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import vm_image
from vm_guest import Guest, Hardware

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("QLMDM_VM_CACHE", ROOT / ".nox" / "vm-images"))
IMAGE = vm_image.Image(suite="bookworm", encrypted=True, packages=("iptables", "nftables"))
SERIAL = "QL4711"
HARDWARE = Hardware(disks=(), paths=False, network=True, vda=f",serial={SERIAL}")

Start = Callable[..., Guest]
