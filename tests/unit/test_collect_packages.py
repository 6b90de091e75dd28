"""The collector of installed packages: off, listed in little space, or unknown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, DistroAdapter
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch import installed as arch
from qlmdm_plugins_arch.adapter import PacmanAdapter
from qlmdm_plugins_builtin.client_settings import PackagesSettings
from qlmdm_plugins_builtin.collectors import packages
from qlmdm_plugins_ubuntu import installed as debian
from qlmdm_plugins_ubuntu.adapter import AptAdapter

ON = PackagesSettings(enabled=True)


def collect(
    built: RecordedMachine, adapter: DistroAdapter | None, config: PackagesSettings = ON
) -> JSON:
    value = packages.collect(built.host(distro=adapter), config)
    assert json.loads(json.dumps(value)) == value
    return value


def test_it_is_off_and_asks_nobody_unless_it_is_turned_on(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).command(debian.QUERY, "ii \tbash\t5\tamd64\n")
    value = collect(built, AptAdapter(), PackagesSettings())
    assert (value["state"], value["packages"]) == ("off", {})


def test_versions_are_told_by_name(tmp_path: Path) -> None:
    text = "ii \tbash\t5.2\tamd64\nii \tlibc6\t2.36\tamd64\nii \tlibc6\t2.36\ti386\n"
    text += "ii \ttzdata\t2026a\tall\n"
    value = collect(RecordedMachine(tmp_path).command(debian.QUERY, text), AptAdapter())
    assert value == {
        "state": "listed",
        "count": 4,
        "packages": {"bash": "5.2", "libc6": "2.36", "libc6:i386": "2.36", "tzdata": "2026a"},
        "adapter": "ubuntu",
    }


def test_pacman_is_asked_on_arch(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).command(arch.QUERY, "bash 5.3.3-2\n")
    assert collect(built, PacmanAdapter())["packages"] == {"bash": "5.3.3-2"}


def test_four_thousand_packages_fit_by_far(tmp_path: Path) -> None:
    text = "".join(
        f"ii \tlib{'long-name' * 2}-{n}-dev\t1:2.36-9+deb12u{n}\tamd64\n" for n in range(4000)
    )
    value = collect(RecordedMachine(tmp_path).command(debian.QUERY, text), AptAdapter())
    assert value["count"] == 4000
    assert len(json.dumps(value)) < packages.MAX_BYTES / 3


def test_what_does_not_fit_is_unknown_and_not_cut(tmp_path: Path) -> None:
    text = "".join(f"ii \t{'x' * 200}{n}\t1\tamd64\n" for n in range(6000))
    value = collect(RecordedMachine(tmp_path).command(debian.QUERY, text), AptAdapter())
    assert (value["state"], value["count"], value["packages"]) == ("unknown", 6000, {})


@pytest.mark.parametrize("adapter", [None, AptAdapter(), PacmanAdapter()])
def test_what_can_not_be_asked_is_unknown(tmp_path: Path, adapter: DistroAdapter | None) -> None:
    value = collect(RecordedMachine(tmp_path), adapter)
    assert value["state"] == "unknown"
    assert value["reason"]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.text(max_size=4),
                "version": st.text(max_size=4),
                "architecture": st.sampled_from(["amd64", "i386", "all", None]),
            }
        )
    )
)
def test_every_package_is_in_the_list(found: list[dict[str, JSON]]) -> None:
    listed = packages.compact(found)
    for package in found:
        name = package["name"]
        assert any(key in (name, f"{name}:{package['architecture']}") for key in listed)
    assert list(listed) == sorted(listed)
