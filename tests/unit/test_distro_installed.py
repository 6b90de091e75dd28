"""How the adapters list the installed packages."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch import installed as arch
from qlmdm_plugins_arch.adapter import PacmanAdapter
from qlmdm_plugins_ubuntu import installed as debian
from qlmdm_plugins_ubuntu.adapter import AptAdapter

DPKG = (
    "ii \tzlib1g\t1:1.2.13.dfsg-1\tamd64\n"
    "ii \tzlib1g\t1:1.2.13.dfsg-1\ti386\n"
    "hi \tbash\t5.2.15-2+b8\tamd64\n"
    "rc \told\t1.0\tall\n"
    "un \tnever\t\t\n"
    "iU \tbroken\t1.0\tall\n"
)


def test_dpkg_tells_what_is_installed(tmp_path: Path) -> None:
    found = AptAdapter().packages(RecordedMachine(tmp_path).command(debian.QUERY, DPKG).host())
    assert found.packages == (
        {"name": "bash", "version": "5.2.15-2+b8", "architecture": "amd64"},
        {"name": "zlib1g", "version": "1:1.2.13.dfsg-1", "architecture": "amd64"},
        {"name": "zlib1g", "version": "1:1.2.13.dfsg-1", "architecture": "i386"},
    )


def test_pacman_tells_what_is_installed(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).command(arch.QUERY, "zlib 1:1.3.1-2\nbash 5.3.3-2\n")
    found = PacmanAdapter().packages(built.host())
    assert found.packages == (
        {"name": "bash", "version": "5.3.3-2", "architecture": None},
        {"name": "zlib", "version": "1:1.3.1-2", "architecture": None},
    )


def test_what_can_not_be_asked_is_not_known(tmp_path: Path) -> None:
    host = RecordedMachine(tmp_path).host()
    for adapter, reason in (
        (AptAdapter(), "dpkg-query is not installed"),
        (PacmanAdapter(), "pacman is not installed"),
    ):
        found = adapter.packages(host)
        assert (found.packages, found.reason) == (None, reason)


def test_an_answer_without_packages_is_no_answer(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).command(debian.QUERY, "").command(arch.QUERY, "")
    host = built.host()
    assert AptAdapter().packages(host).packages is None
    assert PacmanAdapter().packages(host).packages is None


@given(
    st.lists(
        st.one_of(st.text(max_size=30), st.sampled_from(["ii \ta\t1\tall", "a 1-1", "ii \t\t\t"]))
    ).map("\n".join)
)
def test_no_text_breaks_a_parser(text: str) -> None:
    for package in (*debian.parse(text), *arch.parse(text)):
        assert package["name"]
        assert package["version"]
