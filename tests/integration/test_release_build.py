"""Building a client release: what gets into it, what is refused, and the same bytes each time."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from qlmdm_core.client.release import tarreader
from qlmdm_core.errors import PluginError, QlmdmError, SettingsError, UsageError
from qlmdm_core.hookspecs import SERVER_GROUP
from qlmdm_core.hookspecs import server as server_hookspecs
from qlmdm_core.manifest import File
from qlmdm_core.plugins import PluginSet, load_all
from qlmdm_core.server.releases import resolve, sources, ustar
from qlmdm_core.server.releases.build import Built, build
from qlmdm_core.server.releases.pip import Pip, PipError
from qlmdm_core.server.releases.tree import Tree
from qlmdm_core.server.releases.wheels import UnfitError, check_code, kept_files, read_wheel
from qlmdm_core.server.settings import ReleaseSettings, ServerSettings
from qlmdm_core.testing.distributions import write_distribution
from qlmdm_core.testing.wheels import repack_all, write_wheel

NO_PLUGINS = PluginSet(loaded=())
SERVER_ID = "a" * 32
PLUGINS = ("qlmdm-plugins-arch", "qlmdm-plugins-builtin")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of core and two plugin distributions, with all they need, made of what is here."""
    return repack_all(tmp_path_factory.mktemp("installed"), ["qlmdm-core", *PLUGINS])


@pytest.fixture
def site(tmp_path: Path, installed: Path) -> Site:
    return Site(tmp_path / "site", installed)


class Site:
    """A folder with the settings of a server and its clients."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        (folder / "client").mkdir(parents=True)
        self.settings_file = str(folder / "settings.yml")
        self.client = folder / "client" / "settings.yml"
        self.client.write_text("server_url: https://qlmdm.example.com\n")
        self.settings = ServerSettings(
            url="https://qlmdm.example.com",
            release=ReleaseSettings(wheels=str(wheels), distributions=PLUGINS),
        )

    def build(self, plugins: PluginSet = NO_PLUGINS, **changes: object) -> Built:
        release = replace(self.settings.release, **changes)  # type: ignore[arg-type]
        settings = replace(self.settings, release=release)
        return build(settings, self.settings_file, plugins, server_id=SERVER_ID)


def paths(built: Built) -> set[str]:
    return {file.path for file in built.files}


# --- what is in it ----------------------------------------------------------------------------


def test_a_release_holds_core_the_plugins_and_all_they_need(site: Site) -> None:
    built = site.build()
    assert {"qlmdm-core", *PLUGINS, "pluggy", "requests", "certifi", "pyyaml"} <= set(
        built.distributions
    )
    assert {"lib/qlmdm_core/cli.py", "lib/yaml/__init__.py", "settings.yml"} <= paths(built)
    assert built.machines == ()


def test_nothing_that_differs_from_build_to_build_is_in_it(site: Site) -> None:
    names = paths(site.build())
    for wrong in (".pyc", "/RECORD", "/INSTALLER", "/direct_url.json", "/WHEEL", ".so"):
        assert not [name for name in names if name.endswith(wrong)]
    for wanted in ("METADATA", "entry_points.txt"):
        assert any(name.endswith(f".dist-info/{wanted}") for name in names)
    assert any("LICEN" in name.upper() for name in names)


def test_the_client_reads_the_tar_exactly_as_its_manifest_says(site: Site) -> None:
    built = site.build()
    read = {}
    for file, chunks in tarreader.members(io.BytesIO(built.tar), built.files):
        read[file.path] = b"".join(chunks)
    assert set(read) == paths(built)
    with tarfile.open(fileobj=io.BytesIO(built.tar)) as other:  # and so does anybody's tar
        assert [member.name for member in other] == [file.path for file in built.files]


def test_what_is_in_lib_runs_as_the_code_of_a_client(site: Site, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(site.build().tar)) as tar:
        for member in tar:
            source = tar.extractfile(member)
            assert source is not None
            target = tmp_path / "slot" / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'slot' / 'lib')!r})\n"
        "import yaml, requests, gnupg, qlmdm_core.client.collect\n"
        "from qlmdm_core.plugins import discover\n"
        "print(*sorted({e.distribution for e in discover('qlmdm_client')}), yaml.__file__)\n"
    )
    done = subprocess.run(
        [sys._base_executable, "-I", "-S", "-c", code],  # type: ignore[attr-defined]
        capture_output=True,
        text=True,
        check=True,
    )
    *names, place = done.stdout.split()
    assert names == list(PLUGINS)
    assert place.startswith(str(tmp_path))


def test_scripts_of_the_commands_folder_travel_with_it(site: Site) -> None:
    folder = site.folder / "client" / "commands"
    folder.mkdir()
    (folder / "motd.sh").write_text("echo hello\n")
    (folder / "motd.sh~").write_text("an editor's copy")
    (folder / ".hidden").write_text("not meant")
    names = {file.path: file.mode for file in site.build().files if file.path[:8] == "commands"}
    assert names == {"commands/motd.sh": 0o755}


def test_a_folder_of_commands_that_is_named_must_be_there(site: Site) -> None:
    with pytest.raises(SettingsError, match="no such folder"):
        site.build(commands=str(site.folder / "nowhere"))


def test_without_settings_for_clients_nothing_is_built(site: Site) -> None:
    site.client.unlink()
    with pytest.raises(UsageError, match="server_url"):
        site.build()


def test_settings_that_a_client_would_refuse_are_refused_here(site: Site) -> None:
    site.client.write_text("server_url: https://qlmdm.example.com\npol_interval: 1m\n")
    with pytest.raises(SettingsError, match=r"settings.yml:2: pol_interval: .*poll_interval"):
        site.build()


def test_a_plugin_that_is_off_on_every_client_does_not_travel(site: Site) -> None:
    site.client.write_text("server_url: https://x.example\nplugins_off: [qlmdm-plugins-arch]\n")
    assert "qlmdm-plugins-arch" not in site.build().distributions


def test_a_plugin_that_is_removed_from_the_server_is_gone_from_the_next_release(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Path
) -> None:
    there = tmp_path / "site-packages"
    info = write_distribution(
        there,
        "acme-extra",
        entry_points={"qlmdm_client": "extra = acme_extra"},
        modules={"acme_extra": "from qlmdm_core.hookspecs import hookimpl"},
    )
    points = (info / "entry_points.txt").read_text()
    wheels = repack_all(tmp_path / "wheels", ["qlmdm-core", *_all_here()])
    write_wheel(wheels, "acme-extra", files={"acme_extra.py": "X = 1"}, entry_points=points)
    monkeypatch.syspath_prepend(there)
    with_it = site.build(distributions=(), wheels=str(wheels))
    assert "lib/acme_extra.py" in paths(with_it)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(there)])
    without = site.build(distributions=(), wheels=str(wheels))
    assert "lib/acme_extra.py" not in paths(without)
    assert paths(with_it) > paths(without)


def _all_here() -> list[str]:
    return sources.wanted((), ())[1:]


# --- plugins' files ---------------------------------------------------------------------------


def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> PluginSet:
    there = tmp_path / "hooks"
    write_distribution(
        there,
        "acme-files",
        entry_points={"qlmdm_server": "files = acme_files"},
        modules={
            "acme_files": "from qlmdm_core.hookspecs import hookimpl\n"
            "@hookimpl\ndef qlmdm_release_files(plan):\n    " + body
        },
    )
    monkeypatch.syspath_prepend(there)
    monkeypatch.delitem(sys.modules, "acme_files", raising=False)
    found = load_all(SERVER_GROUP, server_hookspecs)
    return PluginSet(loaded=tuple(p for p in found if p.entry.distribution == "acme-files"))


def test_plugins_add_files(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "return {'acme/who.txt': plan['server_id'].encode()}"
    built = site.build(hooks(tmp_path, monkeypatch, body))
    (file,) = [file for file in built.files if file.path == "files/acme/who.txt"]
    assert file.sha256 == hashlib.sha256(SERVER_ID.encode()).hexdigest()


@pytest.mark.parametrize("path", ["../lib/x.py", "/etc/passwd", "a/../../b", "a\\nb", ""])
def test_a_plugin_can_put_files_nowhere_else(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    plugins = hooks(tmp_path, monkeypatch, f"return {{{path!r}: b''}}")
    with pytest.raises((UnfitError, PluginError), match="acme-files"):
        site.build(plugins)


def test_a_plugin_whose_hook_raises_stops_the_build(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = hooks(tmp_path, monkeypatch, "raise OSError('no badge')")
    with pytest.raises(PluginError, match=r"acme-files.*no badge.*no release is built"):
        site.build(plugins)


# --- the same bytes ---------------------------------------------------------------------------


def test_two_builds_on_machines_that_differ_in_everything_else_give_the_same_bytes(
    site: Site, tmp_path: Path, installed: Path
) -> None:
    first = site.build()
    other = Site(tmp_path / "ein anderer Ort", tmp_path / "copied")
    (tmp_path / "copied").mkdir()
    for wheel in sorted(installed.iterdir(), reverse=True):  # another order in the folder
        (tmp_path / "copied" / wheel.name).write_bytes(wheel.read_bytes())
        os.utime(tmp_path / "copied" / wheel.name, (1, 1))
    code = (
        "import os, sys; os.umask(0o077)\n"
        "from qlmdm_core.plugins import PluginSet\n"
        "from qlmdm_core.server.releases.build import build\n"
        "from qlmdm_core.server.settings import *\n"
        f"r = ReleaseSettings(wheels={str(tmp_path / 'copied')!r}, distributions={PLUGINS!r})\n"
        "s = ServerSettings(url='https://qlmdm.example.com', release=r)\n"
        f"b = build(s, {other.settings_file!r}, PluginSet(loaded=()), server_id='a' * 32)\n"
        "print(b.tar_sha256)"
    )
    environment = {
        **os.environ,
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "tr_TR.UTF-8",
        "TMPDIR": str(tmp_path),
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == first.tar_sha256


def test_what_changes_the_content_changes_the_bytes(site: Site) -> None:
    first = site.build()
    site.client.write_text("server_url: https://qlmdm.example.com # moved\n")
    assert site.build().tar_sha256 != first.tar_sha256


# --- resolving --------------------------------------------------------------------------------


def resolved(tmp_path: Path, wheels: Path, *roots: str) -> dict[str, str]:
    folder = tmp_path / f"work-{time.monotonic_ns()}"
    folder.mkdir()
    found = resolve.resolve(list(roots), Pip(wheels=str(wheels)), str(folder))
    return {wheel.name: wheel.version for wheel in found}


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "marker",
    [
        "python_version < '3.11'",
        "python_version >= '3.14'",
        "python_full_version < '3.11.3'",
        "python_version == '3.12'",
    ],
)
def test_what_only_some_pythons_need_is_there_for_all(
    tmp_path: Path, shelf: Path, marker: str
) -> None:
    write_wheel(shelf, "plugin", requires=[f"old-help>=1; {marker}"])
    write_wheel(shelf, "old-help", requires=["deep; python_version >= '3'"])
    write_wheel(shelf, "deep")
    assert set(resolved(tmp_path, shelf, "plugin")) == {"plugin", "old-help", "deep"}


def test_what_is_needed_on_no_single_python_at_once_is_not_there(
    tmp_path: Path, shelf: Path
) -> None:
    write_wheel(shelf, "plugin", requires=["new; python_version >= '3.13'"])
    write_wheel(shelf, "new", requires=["deep; python_version < '3.11'"])
    assert set(resolved(tmp_path, shelf, "plugin")) == {"plugin", "new"}


def test_what_no_client_needs_is_not_there(tmp_path: Path, shelf: Path) -> None:
    wanted = ["w; sys_platform == 'win32'", "o; python_version < '3.10'", "x; extra == 'more'"]
    write_wheel(shelf, "plugin", requires=wanted)
    assert set(resolved(tmp_path, shelf, "plugin")) == {"plugin"}


def test_an_extra_that_is_asked_for_is_followed_on_every_python(
    tmp_path: Path, shelf: Path
) -> None:
    write_wheel(shelf, "plugin", requires=["helper[more]"])
    write_wheel(shelf, "helper", requires=["old; extra == 'more' and python_version < '3.11'"])
    write_wheel(shelf, "old")
    assert "old" in resolved(tmp_path, shelf, "plugin")


def test_the_version_taken_runs_on_the_oldest_python(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "plugin", requires=["helper"])
    write_wheel(shelf, "helper", version="1.0", requires_python=">=3.8")
    write_wheel(shelf, "helper", version="2.0", requires_python=">=3.12")
    assert resolved(tmp_path, shelf, "plugin")["helper"] == "1.0"


def test_a_package_that_a_newer_python_can_not_run_is_named(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "plugin", requires=["helper"])
    write_wheel(shelf, "helper", requires_python=">=3.8,<3.13")
    with pytest.raises(UnfitError, match=r"helper 1.0 is for Python .*3.13, 3.14"):
        resolved(tmp_path, shelf, "plugin")


def test_a_package_for_one_python_alone_is_refused_by_name(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "plugin", requires=["fast"])
    write_wheel(shelf, "fast", tag="cp310-cp310-manylinux2014_x86_64")
    with pytest.raises(UnfitError, match=r"^fast: there is no wheel(.|\n)*leave out the plugin"):
        resolved(tmp_path, shelf, "plugin")


def test_abi3_code_is_taken_and_the_machine_is_noted(tmp_path: Path, shelf: Path) -> None:
    tag = f"cp39-abi3-manylinux2014_{platform.machine()}"
    write_wheel(shelf, "plugin", requires=["fast"])
    path = write_wheel(shelf, "fast", tag=tag, files={"fast/_fast.abi3.so": b"\x7fELF"})
    assert set(resolved(tmp_path, shelf, "plugin")) == {"plugin", "fast"}
    wheel = read_wheel(str(path))
    assert wheel.machine == platform.machine()
    assert "fast/_fast.abi3.so" in dict(kept_files(wheel))


def test_a_package_that_nobody_has_is_named_with_what_pip_said(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "plugin", requires=["nowhere>=3"])
    with pytest.raises(UnfitError, match=r"nowhere>=3(.|\n)*release.wheels"):
        resolved(tmp_path, shelf, "plugin")


def test_requirements_that_exclude_each_other_are_told(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "plugin", requires=["helper<2"])
    write_wheel(shelf, "other", requires=["helper>=2"])
    for version in ("1.0", "2.0"):
        write_wheel(shelf, "helper", version=version)
    with pytest.raises(PipError, match="conflict"):
        resolved(tmp_path, shelf, "plugin", "other")


SETUP = """
import os
from setuptools import Extension, setup
modules = [] if os.environ.get("PYYAML_FORCE_LIBYAML") == "0" else [Extension("_y", ["y.c"])]
setup(name="pyyaml", version="7.0", packages=["yaml"], ext_modules=modules)
"""


def test_a_package_with_an_optional_extension_is_built_from_its_source_without_it(
    tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("setuptools")
    write_wheel(shelf, "plugin", requires=["pyyaml>=6"])
    write_wheel(shelf, "pyyaml", version="7.0", tag="cp310-cp310-manylinux2014_x86_64")
    made: list[str] = []

    class Made(Pip):
        """pip, but for the build of one source, which would need an index."""

        def build_pure(self, folder: str, name: str, wanted: str, *, cached: bool = True) -> None:
            made.append(f"{name} {wanted} {cached}")
            tag = "cp310-cp310-linux_x86_64" if cached else "py3-none-any"
            write_wheel(folder, "pyyaml", version="7.0", tag=tag)

    folder = tmp_path / "work"
    folder.mkdir()
    found = resolve.resolve(["plugin"], Made(wheels=str(shelf)), str(folder))
    assert {wheel.name for wheel in found} == {"plugin", "pyyaml"}
    # pip's cache held one that was built with the extension: it was built anew.
    assert made == ["pyyaml pyyaml>=6 True", "pyyaml pyyaml>=6 False"]


def test_every_python_of_clients_is_judged_at_its_first_and_last_release() -> None:
    full = {environment["python_full_version"] for environment in resolve.environments()}
    assert {"3.10.0", "3.10.99", "3.14.0", "3.14.99"} <= full
    assert len(full) == 10
    assert not resolve.passed_over([Requirement("nothing")], [])


# --- wheels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "fast/_fast.cpython-311-x86_64-linux-gnu.so",
        "fast/_fast.so",
        "fast/_fast.abi3.so",  # in a wheel that says it is for any machine
        "fast.libs/libz.so.1",
        "fast/x.pyd",
    ],
)
def test_compiled_code_in_a_wheel_that_claims_to_be_pure_is_refused_with_its_name(
    tmp_path: Path, path: str
) -> None:
    wheel = read_wheel(str(write_wheel(tmp_path, "fast", files={path: b"\x7fELF"})))
    with pytest.raises(UnfitError, match=rf"fast-1.0.*: {path}.*leave out the plugin"):
        list(kept_files(wheel))


def test_code_for_one_python_in_an_abi3_wheel_is_refused(tmp_path: Path) -> None:
    path = write_wheel(
        tmp_path,
        "fast",
        tag="cp39-abi3-manylinux2014_x86_64",
        files={"fast/_f.cpython-311-x86_64-linux-gnu.so": b"\x7fELF"},
    )
    with pytest.raises(UnfitError, match="cpython-311"):
        list(kept_files(read_wheel(str(path))))


@pytest.mark.parametrize("path", ["../evil.py", "/etc/evil", "a/../../b.py", "a\\b.py", "é.py"])
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    wheel = read_wheel(str(write_wheel(tmp_path, "evil", files={path: b""})))
    with pytest.raises(UnfitError, match="can't hold a file"):
        list(kept_files(wheel))


def test_a_pth_file_is_refused_since_no_client_would_read_it(tmp_path: Path) -> None:
    wheel = read_wheel(str(write_wheel(tmp_path, "p", files={"p.pth": "import os"})))
    with pytest.raises(UnfitError, match=r"p\.pth"):
        list(kept_files(wheel))


def test_modules_in_a_data_folder_are_taken_and_scripts_are_not(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "p-1.0.data/purelib/p/m.py": "",
        "p-1.0.data/scripts/p": "#!python",
        "p/__pycache__/m.cpython-311.pyc": b"",
        "p-1.0.dist-info/licenses/COPYING": "all",
        "p-1.0.dist-info/direct_url.json": "{}",
    }
    wheel = read_wheel(str(write_wheel(tmp_path, "p", files=files)))
    assert set(dict(kept_files(wheel))) == {
        "p/m.py",
        "p-1.0.dist-info/METADATA",
        "p-1.0.dist-info/licenses/COPYING",
    }


def test_what_is_no_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "x-1.0-py3-none-any.whl").write_bytes(b"PK no")
    with pytest.raises(UnfitError, match=r"x-1.0-py3-none-any.whl: can't be read"):
        read_wheel(str(tmp_path / "x-1.0-py3-none-any.whl"))
    with pytest.raises(UnfitError, match="not a wheel"):
        read_wheel("x.whl")


def test_two_distributions_that_bring_one_path_are_both_named() -> None:
    tree = Tree()
    tree.add("lib/a.py", b"1", "one 1.0")
    tree.add("lib/a.py", b"1", "two 1.0")  # the same: an empty __init__.py, say
    with pytest.raises(UnfitError, match=r"lib/a.py is brought by one 1.0 and by three 1.0"):
        tree.add("lib/a.py", b"2", "three 1.0")


# --- sources ----------------------------------------------------------------------------------


def test_a_checkout_is_made_into_a_wheel_before_it_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_origin", lambda _: str(tmp_path))
    built: list[bool] = []

    class Made(Pip):
        def build(self, folder: str, source: str, *, isolated: bool = True) -> None:
            built.append(isolated)
            if not isolated:
                raise PipError("nothing here can build it")
            write_wheel(folder, "pluggy", version=version)

    version = "1.7.0"
    monkeypatch.setattr("importlib.metadata.Distribution.version", version)
    found = sources.requirement("pluggy", Made(), str(tmp_path))
    assert found.endswith("pluggy-1.7.0-py3-none-any.whl")
    assert built == [False, True]
    version = "1.8.0"
    with pytest.raises(UnfitError, match="install it anew"):
        sources.requirement("pluggy", Made(), str(_new(tmp_path / "again")))


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_what_is_installed_from_an_index_is_asked_for_in_that_version(tmp_path: Path) -> None:
    found = sources.requirement("pluggy", Pip(), str(tmp_path))
    assert found.startswith("pluggy==")
    assert sources.requirement("not-here", Pip(), str(tmp_path)) == "not-here"


# --- the tar ----------------------------------------------------------------------------------

_part = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=90)


@given(
    st.dictionaries(
        st.lists(_part, min_size=1, max_size=4).map("/".join),
        st.tuples(st.binary(max_size=2000), st.sampled_from([0o644, 0o755])),
        max_size=6,
    )
)
def test_any_files_that_fit_come_out_of_the_tar_as_they_went_in(
    content: dict[str, tuple[bytes, int]],
) -> None:
    items = [(f"lib/{path}", *content[path]) for path in sorted(content)]
    try:
        tar = ustar.write_tar(items)
    except QlmdmError:
        assert any(len(path) > 100 for path, _, _ in items)
        return
    files = [File(p, hashlib.sha256(data).hexdigest(), len(data), mode) for p, data, mode in items]
    back = {
        file.path: b"".join(chunks) for file, chunks in tarreader.members(io.BytesIO(tar), files)
    }
    assert back == {path: data for path, data, _ in items}


def test_a_path_that_no_tar_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        ustar.write_tar([("lib/" + "x" * 120, b"", 0o644)])


def test_code_that_is_not_python_is_refused_by_file_and_line(tmp_path: Path) -> None:
    broken = {"plugin/good.py": "x = 1\n", "plugin/bad.py": "x = 1\n\ndef f(:\n"}
    wheel = read_wheel(str(write_wheel(tmp_path, "plugin", files=broken)))
    with pytest.raises(UnfitError, match=r"^plugin 1\.0: plugin/bad\.py, line 3: not Python: "):
        check_code(wheel)


def test_a_module_with_a_nul_is_refused(tmp_path: Path) -> None:
    wheel = read_wheel(str(write_wheel(tmp_path, "plugin", files={"plugin/bad.py": b"x = 1\0"})))
    with pytest.raises(UnfitError, match=r"^plugin 1\.0: plugin/bad\.py"):
        check_code(wheel)


def test_no_release_is_built_of_a_plugin_that_does_not_compile(
    site: Site, tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    shutil.copytree(installed, wheels)
    write_wheel(wheels, "qlmdm-plugins-broken", files={"qlmdm_broken/agent.py": "import\n"})
    chosen = (*PLUGINS, "qlmdm-plugins-broken")
    with pytest.raises(UnfitError, match=r"qlmdm_broken/agent\.py, line 1: not Python"):
        site.build(wheels=str(wheels), distributions=chosen)
    monkeypatch.setattr("qlmdm_core.server.releases.build.check_code", lambda _wheel: None)
    assert "lib/qlmdm_broken/agent.py" in paths(
        site.build(wheels=str(wheels), distributions=chosen)
    )
