"""Finds devices by path, number or UUID, and the mount that a path lies on.

Machines with containers have thousands of mounts and devices, so that each question is
answered from tables that are made once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .block import Device, short_name
from .mounts import Mount, unescape_udev


class Lookup:
    """The devices and mounts of a machine, by what one knows of them."""

    def __init__(
        self,
        devices: Mapping[str, Device],
        links: Mapping[str, str] | None = None,
        mounts: Sequence[Mount] = (),
    ) -> None:
        """`links` tells where links in /dev lead, by path."""
        self._devices = devices
        self._links = links or {}
        self._numbers: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._uuids: dict[str, str] = {}
        for device in devices.values():
            if device.number:
                self._numbers.setdefault(device.number, device.name)
            if device.fs_uuid:
                self._uuids.setdefault(device.fs_uuid, device.name)
            for label in (device.label, unescape_udev(device.label)):
                if label:
                    self._labels.setdefault(label, device.name)
        self._points: dict[str, list[int]] = {}
        for index, mount in enumerate(mounts):
            self._points.setdefault(mount.point.rstrip("/") or "/", []).append(index)

    def device(self, source: str, number: str = "") -> str:
        """The kernel name of the device that a path or a number means; empty if none.

        The number is the surer: names can be links, be escaped twice, or be "/dev/root".
        """
        if number in self._numbers and not number.startswith("0:"):
            return self._numbers[number]
        if source.startswith("UUID="):
            return self._uuids.get(source.removeprefix("UUID="), "")
        for name in (short_name(source), self._links.get(source, "").rsplit("/", 1)[-1]):
            for candidate in (name, unescape_udev(name), _lvm_label(name)):
                if candidate in self._devices:
                    return candidate
                if candidate in self._labels:
                    return self._labels[candidate]
        if "/by-uuid/" in source:
            return self._uuids.get(source.rsplit("/", 1)[-1], "")
        return ""

    def mount_of(self, path: str, but: int | None = None) -> int | None:
        """The place in the list of the mount that a path lies on, `but` left aside.

        Of two mounts on one place the later hides the earlier.
        """
        while path.startswith("/"):
            path = path.rstrip("/") or "/"
            for index in reversed(self._points.get(path, ())):
                if index != but:
                    return index
            if path == "/":
                break
            path = path.rsplit("/", 1)[0] or "/"
        return None


def _lvm_label(name: str) -> str:
    """The mapping's name for "VG/LV": lvm(8) doubles hyphens and joins with one."""
    group, slash, volume = name.partition("/")
    return "-".join(p.replace("-", "--") for p in (group, volume)) if slash and volume else ""
