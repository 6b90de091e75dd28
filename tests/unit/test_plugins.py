"""Plugins: found without being imported, loaded one at a time, and each bad kind contained."""

from __future__ import annotations

import dataclasses
import re
import signal
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import api, plugins, settings
from qlmdm_core.errors import SettingsError
from qlmdm_core.hookspecs import CLIENT_GROUP, SERVER_GROUP, client, server
from qlmdm_core.plugins import LoadedPlugin, PluginEntry, PluginFailure, PluginSet
from qlmdm_core.testing import write_distribution

Write = Callable[..., None]

GOOD = """
    from qlmdm_core import Collector, hookimpl

    @hookimpl
    def qlmdm_register_collectors(settings):
        return [Collector(name="{name}", run=lambda host: {{"state": "available"}})]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path to put distributions into; what was imported is forgotten."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def add(site: Path, name: str, source: str, *, group: str = CLIENT_GROUP) -> None:
    module = name.replace("-", "_") + "_hooks"
    write_distribution(
        site, name, entry_points={group: f"main = {module}"}, modules={module: source}
    )


def find(name: str, group: str = CLIENT_GROUP) -> PluginEntry:
    (entry,) = (e for e in plugins.discover(group) if e.distribution == name)
    return entry


def load(site: Path, source: str, *, group: str = CLIENT_GROUP) -> LoadedPlugin:
    add(site, "x-plugin", source, group=group)
    return plugins.load(find("x-plugin", group), client if group == CLIENT_GROUP else server)


def collectors(loaded: LoadedPlugin) -> list[Any] | PluginFailure:
    return plugins.call(loaded, "qlmdm_register_collectors", settings=None)


def failure_of(outcome: LoadedPlugin | list[Any] | PluginFailure) -> PluginFailure:
    failure = outcome.failure if isinstance(outcome, LoadedPlugin) else outcome
    assert isinstance(failure, PluginFailure)
    return failure


# --- finding ------------------------------------------------------------------------------


def test_entry_points_are_found_without_an_import(site: Path) -> None:
    add(site, "acme-tools", "raise SystemExit('imported')")
    entry = find("acme-tools")
    assert entry.version == "1.0"
    assert entry.owner == "acme-tools:main"
    assert entry.target == "acme_tools_hooks"
    assert not entry.error
    assert "acme_tools_hooks" not in sys.modules
    assert all(e.distribution != "acme-tools" for e in plugins.discover(SERVER_GROUP))


def test_our_own_distributions_come_in_the_same_way() -> None:
    found = {entry.distribution for entry in plugins.discover(CLIENT_GROUP)}
    assert {"qlmdm-plugins-builtin", "qlmdm-plugins-ubuntu", "qlmdm-plugins-arch"} <= found


@pytest.mark.parametrize("word", ["acme-tools", "Acme_Tools", "acme.tools:main"])
def test_what_is_disabled_is_listed_and_never_imported(site: Path, word: str) -> None:
    add(site, "acme-tools", "raise SystemExit('imported')")
    (entry,) = (e for e in plugins.discover(CLIENT_GROUP, {word}) if e.distribution == "acme-tools")
    assert entry.disabled
    loaded = plugins.load(entry, client)
    assert loaded.failure is None
    assert collectors(loaded) == []
    assert "acme_tools_hooks" not in sys.modules


def test_one_entry_point_of_a_distribution_can_be_disabled(site: Path) -> None:
    write_distribution(site, "two", entry_points={CLIENT_GROUP: "a = two_a\nb = two_b"})
    found = [e for e in plugins.discover(CLIENT_GROUP, {"two:b"}) if e.distribution == "two"]
    assert [(e.name, e.disabled) for e in found] == [("a", False), ("b", True)]


def test_the_first_of_two_installations_counts_as_for_an_import(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(site, "x-plugin", "")
    first = tmp_path_factory.mktemp("first")
    write_distribution(
        first, "X_Plugin", version="2.0", entry_points={CLIENT_GROUP: "main = newer"}
    )
    monkeypatch.syspath_prepend(str(first))
    found = [e for e in plugins.discover(CLIENT_GROUP) if "lugin" in e.distribution]
    assert [(e.version, e.target) for e in found if e.distribution[0] in "xX"] == [("2.0", "newer")]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ({CLIENT_GROUP: "main = not a module!"}, "not a module"),
        ({CLIENT_GROUP: "main = a\nmain = b"}, "twice"),
    ],
)
def test_a_bad_entry_point_is_recorded(site: Path, points: dict[str, str], expected: str) -> None:
    write_distribution(site, "x-plugin", entry_points=points)
    entry = find("x-plugin")
    assert expected in entry.error
    failure = failure_of(plugins.load(entry, client))
    assert failure.stage == "metadata"


def test_metadata_that_is_not_text_is_recorded(site: Path) -> None:
    info = write_distribution(site, "x-plugin")
    (info / "entry_points.txt").write_bytes(b"[qlmdm_client]\nmain = \xff\n")
    other = write_distribution(site, "not-ours")
    (other / "entry_points.txt").write_bytes(b"[console_scripts]\nmain = \xff\n")
    found = {e.distribution: e.error for e in plugins.discover(CLIENT_GROUP) if e.error}
    assert found == {"x-plugin": "entry_points.txt is not UTF-8"}


def test_metadata_without_a_name_is_recorded(site: Path) -> None:
    info = write_distribution(site, "x-plugin", entry_points={CLIENT_GROUP: "main = m"})
    (info / "METADATA").write_text("Version: 1\n")
    (entry,) = (e for e in plugins.discover(CLIENT_GROUP) if e.error)
    assert entry.distribution == "x-plugin"
    assert "metadata" in entry.error


def test_garbage_for_entry_points_raises_nothing(site: Path) -> None:
    write_distribution(site, "x-plugin", entry_points="qlmdm_client\n[qlmdm_client\n= =\n[]\n")
    plugins.discover(CLIENT_GROUP)


# --- loading ------------------------------------------------------------------------------


def test_a_good_plugin_gives_its_descriptors(site: Path) -> None:
    loaded = load(site, GOOD.format(name="good"))
    assert loaded.failure is None
    assert loaded.hooks == ("qlmdm_register_collectors",)
    assert loaded.seconds > 0
    found = collectors(loaded)
    assert isinstance(found, list)
    assert [c.name for c in found] == ["good"]
    assert plugins.call(loaded, "qlmdm_register_distros", settings=None) == []


def test_an_object_can_be_a_plugin(site: Path) -> None:
    source = """
        from qlmdm_core import Collector, hookimpl

        class Plugin:
            @hookimpl
            def qlmdm_register_collectors(self):
                return (Collector(name=n, run=print) for n in ("a", "b"))

        class holder:
            plugin = Plugin()
    """
    write_distribution(
        site,
        "x-plugin",
        entry_points={CLIENT_GROUP: "main = x_mod:holder.plugin"},
        modules={"x_mod": source},
    )
    found = collectors(plugins.load(find("x-plugin"), client))
    assert isinstance(found, list)
    assert [c.name for c in found] == ["a", "b"]


BAD_AT_IMPORT = {
    "raises": ("raise ValueError('boom')", "ValueError: boom"),
    "exits": ("raise SystemExit(0)", "SystemExit: 0"),
    "exits by sys.exit": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "base exception": ("class X(BaseException): pass\nraise X('deep')", "X: deep"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "generator exit": ("raise GeneratorExit", "GeneratorExit"),
    "missing import": ("import qlmdm_is_not_there", "ModuleNotFoundError: No module named"),
    "syntax": ("def (:", "SyntaxError"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "unprintable": (
        "class X(Exception):\n    def __str__(self): raise KeyError\nraise X",
        "X: (it can't be printed)",
    ),
    "long": ("raise ValueError('x' * 10**6)", "ValueError: xxx"),
}


@pytest.mark.parametrize("kind", BAD_AT_IMPORT)
def test_what_goes_wrong_at_import_is_a_failure(site: Path, kind: str) -> None:
    source, expected = BAD_AT_IMPORT[kind]
    failure = failure_of(load(site, source))
    assert (failure.distribution, failure.entry_point, failure.stage) == (
        "x-plugin",
        "main",
        "import",
    )
    assert failure.error.startswith(expected)
    assert len(failure.error) <= 500
    assert "\n" not in failure.error


def test_a_failure_says_where_in_the_plugin(site: Path) -> None:
    failure = failure_of(load(site, "\ndef helper():\n    raise ValueError('boom')\nhelper()"))
    assert failure.trace[-1].endswith("x_plugin_hooks.py:3 in helper")
    assert failure.trace[-2].endswith("x_plugin_hooks.py:4 in <module>")
    assert str(failure).startswith("x-plugin:main: import: ValueError: boom (")


INTERRUPTED = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
"""As from a person at the terminal, while the plugin is imported."""


@pytest.mark.parametrize(
    "source",
    [
        INTERRUPTED,
        f"try:\n    {INTERRUPTED}\nexcept BaseException:\n    pass",
        f"try:\n    {INTERRUPTED}\nexcept BaseException:\n    raise ValueError",
    ],
)
def test_ctrl_c_is_for_the_command_whatever_a_plugin_makes_of_it(site: Path, source: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(site, source)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_nobody_sent_is_the_plugins_failure(site: Path) -> None:
    source = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nraise KeyboardInterrupt"
    failure = failure_of(load(site, source))
    assert (failure.stage, failure.error) == ("import", "KeyboardInterrupt")
    # What the plugin did to Ctrl-C is undone.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_nobody_sent_in_another_thread(site: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        failure = failure_of(pool.submit(load, site, "raise KeyboardInterrupt").result())
    assert failure.error == "KeyboardInterrupt"


def test_a_print_at_import_does_not_reach_standard_output(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(site, "print('noise')\n" + "import textwrap\n").failure is not None
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "noise\n"


WRAPPER = """
from qlmdm_core import hookimpl
@hookimpl(wrapper=True)
def qlmdm_register_collectors():
    return (yield)
"""
ENDLESS = """
    import itertools
    return (Collector(name=f'c{n}', run=print) for n in itertools.count())
"""
TREACHEROUS = """
    class X(Collector):
        def __getattribute__(self, name):
            if name == 'timeout': raise SystemExit(9)
            return super().__getattribute__(name)
    return [X(name='a', run=print)]
"""
HOOK = "from qlmdm_core import hookimpl, Collector, DistroAdapter\n@hookimpl\n"
BODY = HOOK + "def qlmdm_register_collectors(settings):\n"
ONE = "Collector(name='a', run=print)"
BAD_AT_REGISTRATION = {
    "wrong signature": (
        HOOK + "def qlmdm_register_collectors(host): pass",
        "there is no argument 'host'; there are: settings",
    ),
    "not even an argument": (HOOK + "def qlmdm_register_settings(settings): pass", "are: none"),
    "default": (HOOK + "def qlmdm_register_collectors(settings=None): pass", "default: settings"),
    "misspelt": (
        HOOK + "def qlmdm_register_colectors(settings): pass",
        "did you mean qlmdm_register_collectors?",
    ),
    "other side": (
        HOOK + "def qlmdm_register_notifiers(settings): pass",
        "a hook of qlmdm_server; put it",
    ),
    "wrapper": (WRAPPER, "wrappers"),
    "no marker": ("def qlmdm_register_collectors(settings): pass", "not marked with @hookimpl"),
    "nothing": ("x = 1", "implements no hook"),
}


@pytest.mark.parametrize("kind", BAD_AT_REGISTRATION)
def test_a_hook_that_does_not_fit_is_a_failure(site: Path, kind: str) -> None:
    source, expected = BAD_AT_REGISTRATION[kind]
    loaded = load(site, source)
    failure = failure_of(loaded)
    assert failure.stage == "register"
    assert expected in failure.error
    assert loaded.hooks == ()
    assert collectors(loaded) == []


@pytest.mark.parametrize("kind", ["wrong signature", "misspelt", "other side", "no marker"])
def test_the_place_of_a_hook_that_does_not_fit_is_the_plugins(site: Path, kind: str) -> None:
    failure = failure_of(load(site, BAD_AT_REGISTRATION[kind][0]))
    assert re.search(r"x_plugin_hooks.py:\d+ in qlmdm_\w+$", failure.trace[-1])


def test_a_syntax_error_is_told_with_its_file_and_line(site: Path) -> None:
    failure = failure_of(load(site, "x = 1\ndef qlmdm(:\n"))
    assert failure.trace == (f"{site}/x_plugin_hooks.py:2",)


@pytest.mark.parametrize("body", ["    return 3", f"    return [{ONE}, {ONE}]"])
def test_what_a_hook_should_not_return_is_told_with_the_hooks_place(site: Path, body: str) -> None:
    failure = failure_of(collectors(load(site, BODY + body)))
    assert failure.trace[-1].endswith("in qlmdm_register_collectors")
    assert "x_plugin_hooks.py:" in failure.trace[-1]


def test_a_missing_attribute_is_a_failure(site: Path) -> None:
    write_distribution(
        site,
        "x-plugin",
        entry_points={CLIENT_GROUP: "main = x_mod:gone"},
        modules={"x_mod": "there = None"},
    )
    failure = failure_of(plugins.load(find("x-plugin"), client))
    assert failure.error.startswith("AttributeError")


# --- calling ------------------------------------------------------------------------------

BAD_AT_CALL = {
    "raises": ("    raise ValueError('boom')", "ValueError: boom"),
    "exits": ("    raise SystemExit(1)", "SystemExit: 1"),
    "base exception": ("    raise BaseException('x')", "BaseException: x"),
    "not a list": ("    return 3", "returned an object of type int; expected a list"),
    "text": ("    return 'abc'", "expected a list"),
    "one alone": (f"    return {ONE}", "returned an object of type Collector; expected a list"),
    "no descriptor": ("    return [{'name': 'a'}]", "expected Collector"),
    "generator half way": (f"    yield {ONE}\n    raise ValueError('half')", "ValueError: half"),
    "endless": (ENDLESS, "more than 1000"),
    "same name twice": (f"    return [{ONE}, {ONE}]", "Collector 'a': returned twice"),
    "newer api": ("    return [Collector(name='a', run=print, api=2)]", "newer qlmdm-core"),
    "api true": ("    return [Collector(name='a', run=print, api=True)]", "api: expected 1"),
    "bad name": ("    return [Collector(name='A b', run=print)]", "name: expected"),
    "name with newline": ("    return [Collector(name='a\\n', run=print)]", "name: expected"),
    "no function": ("    return [Collector(name='a', run=None)]", "run: expected a function"),
    "no time": ("    return [Collector(name='a', run=print, timeout=0)]", "timeout: expected"),
    "infinite": ("    return [Collector(name='a', run=print, timeout=1e999)]", "timeout"),
    "nan": ("    return [Collector(name='a', run=print, timeout=float('nan'))]", "timeout"),
    "too long": ("    return [Collector(name='a', run=print, timeout=1e9)]", "timeout"),
    "text for time": ("    return [Collector(name='a', run=print, timeout='5m')]", "timeout"),
    "bool for time": ("    return [Collector(name='a', run=print, timeout=True)]", "timeout"),
    "no bytes": ("    return [Collector(name='a', run=print, max_bytes=0)]", "max_bytes"),
    "interval": ("    return [Collector(name='a', run=print, interval=-1)]", "interval"),
    "private": ("    return [Collector(name='a', run=print, private='no')]", "private"),
    "help": ("    return [Collector(name='a', run=print, help=None)]", "help: expected text"),
    "treacherous": (TREACHEROUS, "SystemExit: 9"),
}


@pytest.mark.parametrize("kind", BAD_AT_CALL)
def test_what_goes_wrong_in_a_hook_is_a_failure(site: Path, kind: str) -> None:
    source, expected = BAD_AT_CALL[kind]
    failure = failure_of(collectors(load(site, BODY + source)))
    assert failure.stage == "qlmdm_register_collectors"
    assert expected in failure.error


def test_returning_nothing_is_an_empty_list(site: Path) -> None:
    assert collectors(load(site, BODY + "    return None")) == []


class Resource:
    def on_get(self, req: object, resp: object) -> None: ...


class Adapter:
    name = "void"

    def match(self, os_release: Any) -> int:
        return 10

    def updates(self, host: Any) -> None: ...
    def release_upgrade(self, host: Any) -> None: ...
    def package_version(self, host: Any, name: str) -> None: ...
    def packages(self, host: Any) -> None: ...
    def reboot_required(self, host: Any) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    depth: int = settings.setting(3, "How deep.", minimum=1)


def nothing(*args: object) -> None: ...


HOOKS: dict[str, tuple[Any, list[tuple[Any, str]]]] = {
    "qlmdm_register_audit_checks": (
        api.AuditCheck(name="a", judge=nothing, needs=("x",)),  # type: ignore[arg-type]
        [
            (api.AuditCheck(name="a", judge=None), "judge"),  # type: ignore[arg-type]
            (api.AuditCheck(name="a", judge=nothing, needs="x"), "needs"),  # type: ignore[arg-type]
            (api.AuditCheck(name="a", judge=nothing, needs=(1,)), "needs"),  # type: ignore[arg-type]
            (api.AuditCheck(name="a", judge=nothing, grace_period=-1), "grace"),  # type: ignore[arg-type]
            (api.Collector(name="a", run=nothing), "expected AuditCheck"),
        ],
    ),
    "qlmdm_register_notifiers": (
        api.Notifier(name="a", send=nothing),
        [
            (api.Notifier(name="a", send="mail"), "send"),  # type: ignore[arg-type]
            (api.Notifier(name="a", send=nothing, timeout=0), "timeout"),
        ],
    ),
    "qlmdm_register_stores": (
        api.StoreBackend(scheme="memory", open=nothing),
        [
            (api.StoreBackend(scheme="Mem://", open=nothing), "scheme"),
            (api.StoreBackend(scheme="memory", open=None), "open"),  # type: ignore[arg-type]
        ],
    ),
    "qlmdm_register_routes": (
        api.Route(path="badges/{id}", resource=Resource()),
        [
            (api.Route(path="/badges", resource=Resource()), "path"),
            (api.Route(path="a/../b", resource=Resource()), "path"),
            (api.Route(path="a", resource=object()), "resource"),
            (api.Route(path="a", resource=Resource(), auth="all"), "auth"),  # type: ignore[arg-type]
        ],
    ),
    "qlmdm_register_settings": (
        api.SettingsSection(name="a", schema=Section),
        [
            (api.SettingsSection(name="a", schema=dict), "schema"),
            (api.SettingsSection(name="a", schema=Section()), "schema"),  # type: ignore[arg-type]
            (api.SettingsSection(name="", schema=Section), "name"),
        ],
    ),
    "qlmdm_register_commands": (
        api.SubCommand(name="a", target="m.n:main"),
        [(api.SubCommand(name="a", target="m.n"), "target")],
    ),
    "qlmdm_release_objections": (
        api.Objection(reason="no"),
        [(api.Objection(reason=" "), "reason")],
    ),
    "qlmdm_register_distros": (
        Adapter(),
        [(Adapter, "instance"), (object(), "match"), (types.SimpleNamespace(match=1), "match")],
    ),
}


def plugin_returning(hook: str, result: Any) -> LoadedPlugin:
    """A plugin whose one hook returns this; built in memory, loaded as any other."""
    spec = getattr(server if hasattr(server, hook) else client, hook)
    names = spec.__code__.co_varnames[: spec.__code__.co_argcount]
    space: dict[str, Any] = {"hookimpl": plugins_hookimpl(), "result": result}
    exec(f"@hookimpl\ndef {hook}({', '.join(names)}): return result", space)
    module = types.ModuleType("qlmdm_test_memory")
    setattr(module, hook, space[hook])
    sys.modules[module.__name__] = module
    group, side = (SERVER_GROUP, server) if hasattr(server, hook) else (CLIENT_GROUP, client)
    entry = PluginEntry(distribution="d", name="e", target=module.__name__, group=group)
    try:
        return plugins.load(entry, side)
    finally:
        del sys.modules[module.__name__]


def plugins_hookimpl() -> Any:
    from qlmdm_core import hookimpl

    return hookimpl


ARGUMENTS: dict[str, dict[str, Any]] = {
    "qlmdm_register_audit_checks": {"settings": None},
    "qlmdm_register_notifiers": {"settings": None},
    "qlmdm_register_distros": {"settings": None},
    "qlmdm_register_routes": {"services": {}},
    "qlmdm_release_objections": {"release": {}, "stage": "build"},
    "qlmdm_release_files": {"plan": {}},
}


@pytest.mark.parametrize("hook", HOOKS)
def test_each_kind_of_descriptor_is_checked(hook: str) -> None:
    good, bad = HOOKS[hook]
    arguments = ARGUMENTS.get(hook, {})
    assert plugins.call(plugin_returning(hook, [good]), hook, **arguments) == [good]
    for descriptor, expected in bad:
        failure = failure_of(plugins.call(plugin_returning(hook, [descriptor]), hook, **arguments))
        assert expected in failure.error


def test_every_hook_that_returns_something_is_checked() -> None:
    hooks = {name for side in (client, server) for name in dir(side) if name.startswith("qlmdm_re")}
    assert hooks == {
        *HOOKS,
        "qlmdm_register_collectors",
        "qlmdm_release_files",
        "qlmdm_release_installed",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/etc/passwd": b""}, "relative"),
        ({"a/../../b": b""}, "relative"),
        ({"a\0": b""}, "relative"),
        ({"a": "text"}, "bytes"),
        ([("a", b"")], "mapping"),
    ],
)
def test_files_of_a_release_are_checked(files: Any, expected: str) -> None:
    hook = "qlmdm_release_files"
    failure = failure_of(plugins.call(plugin_returning(hook, files), hook, plan={}))
    assert expected in failure.error
    good = plugin_returning(hook, {"b": b"2", "a": b"1"})
    assert plugins.call(good, hook, plan={}) == [("a", b"1"), ("b", b"2")]


# --- all together -------------------------------------------------------------------------


def test_bad_plugins_cost_only_themselves(site: Path) -> None:
    add(site, "a-bad", "raise SystemExit(3)")
    add(site, "b-good", GOOD.format(name="b_value"))
    add(site, "c-bad", BODY + "    raise ValueError('boom')")
    add(site, "d-good", GOOD.format(name="d_value"))
    ours = {"a-bad", "b-good", "c-bad", "d-good"}
    others = {e.distribution for e in plugins.discover(CLIENT_GROUP)} - ours
    everything = plugins.load_all(CLIENT_GROUP, client, others)
    found = everything.named("qlmdm_register_collectors", "collector", settings=None)
    assert [(e.distribution, c.name) for e, c in found] == [
        ("b-good", "b_value"),
        ("d-good", "d_value"),
    ]
    assert [(f.distribution, f.stage) for f in everything.failures] == [
        ("a-bad", "import"),
        ("c-bad", "qlmdm_register_collectors"),
    ]
    assert len(list(everything)) == 4 + len(others)


def test_a_name_that_two_claim_is_given_to_neither() -> None:
    one = PluginEntry(distribution="one", name="a", group=CLIENT_GROUP)
    two = PluginEntry(distribution="two", name="b", group=CLIENT_GROUP)
    same = [api.Collector(name="x", run=nothing), api.Collector(name="x", run=nothing)]
    other = api.Collector(name="y", run=nothing)
    resolved = plugins.resolve_conflicts(
        "collector", [(one, same[0]), (one, other), (two, same[1])]
    )
    assert resolved.accepted == [(one, other)]
    assert [f.distribution for f in resolved.failures] == ["one", "two"]
    for failure in resolved.failures:
        assert failure.stage == "conflict"
        assert failure.error == "collector 'x' is claimed by one:a and by two:b; none is used"


def entry_of(name: str) -> PluginEntry:
    return PluginEntry(distribution=name, name="e", group=CLIENT_GROUP)


class Scores(Adapter):
    def __init__(self, name: str, answer: Any) -> None:
        self.name, self.answer = name, answer

    def match(self, os_release: Any) -> int:
        if isinstance(self.answer, BaseException):
            raise self.answer
        os_release["ID"] = "changed"
        return self.answer  # type: ignore[no-any-return]


def choose(*adapters: Scores) -> plugins.DistroChoice[Scores]:
    pairs = [(entry_of("dist-" + a.name), a) for a in adapters]
    return plugins.choose_distro(pairs, {"ID": "void"})


def test_the_adapter_that_matches_best_is_chosen() -> None:
    choice = choose(Scores("a", 10), Scores("b", 20), Scores("c", 0))
    assert choice.adapter is not None
    assert choice.adapter.name == "b"
    assert choice.entry == entry_of("dist-b")
    assert choice.failures == ()


def test_no_adapter_is_chosen_when_none_matches() -> None:
    assert choose(Scores("a", 0), Scores("b", -3)) == plugins.DistroChoice()
    assert choose() == plugins.DistroChoice()


def test_a_tie_names_both_and_chooses_neither() -> None:
    choice = choose(Scores("a", 20), Scores("b", 20), Scores("c", 10))
    assert choice.adapter is None
    assert [f.distribution for f in choice.failures] == ["dist-a", "dist-b"]
    assert "a of dist-a:e and b of dist-b:e match" in choice.failures[0].error


@pytest.mark.parametrize("answer", [ValueError("boom"), SystemExit(1), "20", True, None])
def test_an_adapter_that_can_not_answer_costs_only_itself(answer: Any) -> None:
    choice = choose(Scores("a", answer), Scores("b", 10))
    assert choice.adapter is not None
    assert choice.adapter.name == "b"
    (failure,) = choice.failures
    assert (failure.distribution, failure.stage) == ("dist-a", "match")


# --- settings -----------------------------------------------------------------------------


@dataclasses.dataclass
class Core:
    name: str = settings.setting("n", "A name.")


def set_of(schema: Any) -> PluginSet:
    hook = "qlmdm_register_settings"
    loaded = plugin_returning(hook, [api.SettingsSection(name="badge", schema=schema)])
    return PluginSet(loaded=(loaded,))


def test_sections_reach_the_settings() -> None:
    loaded = settings.parse("plugins: {badge: {depth: 5}}", Core)
    everything = set_of(Section)
    everything.register_settings(loaded)
    assert loaded.section("badge") == Section(depth=5)
    assert everything.failures == []


def test_a_mistake_of_the_administrator_is_raised() -> None:
    loaded = settings.parse("plugins: {badge: {depth: 0}}", Core)
    with pytest.raises(SettingsError, match="at least 1"):
        set_of(Section).register_settings(loaded)


def test_a_mistake_in_a_schema_is_the_plugins_failure() -> None:
    @dataclasses.dataclass
    class Odd:
        value: complex = settings.setting(1j, "Complex.")

    everything = set_of(Odd)
    everything.register_settings(settings.parse("plugins: {badge: {value: 2}}", Core))
    (failure,) = everything.failures
    assert failure.stage == "settings"
    assert failure.error.startswith("TypeError")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_schema_that_raises_is_the_plugins_failure(error: type[BaseException]) -> None:
    def raises() -> list[str]:
        raise error

    @dataclasses.dataclass
    class Odd:
        value: str | None = None
        made: Any = dataclasses.field(default_factory=raises)

    everything = set_of(Odd)
    everything.register_settings(settings.parse("", Core))
    (failure,) = everything.failures
    assert (failure.stage, failure.error) == ("settings", error.__name__)
