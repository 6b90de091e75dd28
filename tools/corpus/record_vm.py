"""Records machines of the corpus again, on real systems that are built for it in qemu.

    python tools/corpus/record_vm.py                   all machines of vm_machines.py
    python tools/corpus/record_vm.py NAME…             some
    python tools/corpus/record_vm.py --judge           compare again, start nothing

Each machine is a system in an image (`vm_image`), started without its own hardware
(`vm_guest`), in which the steps that are named for it are taken (`vm_steps/NAME.sh`) and which
is then recorded (`vm_record`), by root or by its user. `vm_machines.py` also says what is right
for it, which follows from the steps. The report is stored as the one expected only if it says
the same; what differs is printed.

Needs root, Debian or Ubuntu, 6 GB under `--work`, and these packages: qemu-system-x86 qemu-utils
mmdebstrap cryptsetup-bin seabios fdisk, and for Ubuntu's machines its ubuntu-keyring. Images, and
the state they have once they are started, are kept for the next time; remove the folder to have
them built anew, with what the archives have then.

exit status: 0 all machines are as they should be, 1 some are not, 2 usage
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from qlmdm_core.testing import corpus

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "vm"))  # what tests/vm starts its machines by, too

import vm_image  # noqa: E402
from vm_guest import STARTED, Guest, GuestError  # noqa: E402
from vm_machines import MACHINES, Machine  # noqa: E402

STEPS = Path(__file__).resolve().parent / "vm_steps"
TARGET = ROOT / "tests" / "machines"
DISTRIBUTIONS = ("core", "plugins_builtin", "plugins_eset", "plugins_ubuntu", "plugins_arch")
NEEDED = ("pluggy>=1.7,<2",)
"""What the client needs that no release of Debian has; the rest is installed in the images."""
RECORDER = Path(__file__).resolve().parent / "vm_record.py"
RECORD = "env PYTHONPATH=/opt/qlmdm python3 /opt/qlmdm/vm_record.py"
READY = "ready"
MOST_FILES, MOST_BYTES = 150, 300_000
"""A recording that is larger holds something that nobody needs: it is not taken."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="machines; all unless named")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/qlmdm-machines"))
    parser.add_argument("--target", type=Path, default=TARGET, help="where recordings are kept")
    parser.add_argument("--jobs", type=int, default=2, help="systems that run at a time")
    parser.add_argument("--judge", action="store_true", help="only compare with what is right")
    args = parser.parse_args(argv)
    known = {machine.name: machine for machine in MACHINES}
    if unknown := set(args.names) - set(known):
        parser.error(f"no such machine: {', '.join(sorted(unknown))}")
    wanted = [known[name] for name in args.names or known]
    if args.judge:
        wanted = [machine for machine in wanted if (args.target / machine.name).exists()]
    else:
        wanted = _record_all(wanted, args.work, args.target, args.jobs)
    failed = len(args.names or known) - len(wanted)
    collectors = corpus.Collectors()
    wrong = [m.name for m in wanted if not _judge(m, args.target, collectors)]
    print(f"{len(wanted) - len(wrong)} right, {len(wrong)} wrong, {failed} not recorded")
    return 1 if wrong or failed else 0


# --- recording -------------------------------------------------------------------------------


def _record_all(wanted: list[Machine], work: Path, target: Path, jobs: int) -> list[Machine]:
    """Record them, those of one image after each other; those that could be."""
    groups: dict[vm_image.Image, list[Machine]] = {}
    for machine in wanted:
        groups.setdefault(machine.image, []).append(machine)
    program = _pack()
    done: list[Machine] = []
    with ThreadPoolExecutor(jobs) as pool:
        parts = [
            pool.submit(_record_group, image, group, work, target, program)
            for image, group in groups.items()
        ]
        for part in parts:
            done += part.result()
    return done


def _record_group(
    image: vm_image.Image, machines: list[Machine], work: Path, target: Path, program: bytes
) -> list[Machine]:
    built = vm_image.build(image, work)
    done = []
    with Guest(built, built.folder / "run") as guest:
        guest.restore(STARTED)
        guest.run(
            "mkdir /opt/qlmdm; tar -xzf - --no-same-owner -C /opt/qlmdm; chmod -R a+rX /opt/qlmdm",
            stdin=program,
        )
        # What is read for it is then in memory, and the modules are compiled.
        guest.run(f"{RECORD} /run/tried >/dev/null; rm -r /run/tried")
        guest.keep(READY)
        for machine in machines:
            try:
                _record(guest, machine, target)
            except GuestError as error:
                print(f"{machine.name}: {error}", file=sys.stderr, flush=True)
            else:
                done.append(machine)
    return done


def _pack() -> bytes:
    """Our own distributions as they are committed, installed in a folder, as a tar file."""
    with tempfile.TemporaryDirectory() as sources, tempfile.TemporaryDirectory() as folder:
        names = [f"qlmdm_{name}" for name in DISTRIBUTIONS]
        archive = ["git", "-C", str(ROOT), "archive", "HEAD", *names]
        committed = subprocess.run(archive, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-xf", "-", "-C", sources], input=committed, check=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
        pip += ["--no-build-isolation", "--target", folder, *NEEDED]
        pip += [f"{sources}/{name}" for name in names]
        subprocess.run(pip, check=True)
        shutil.copy(RECORDER, folder)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            tar.add(folder, arcname=".")
        return packed.getvalue()


def _record(guest: Guest, machine: Machine, target: Path) -> None:
    guest.restore(READY)
    guest.run(
        f"echo {machine.name} > /etc/hostname; hostname {machine.name}\n"
        f"echo '127.0.0.1 localhost {machine.name}' > /etc/hosts"
    )
    for step in machine.steps:
        try:
            guest.run(f"{_text('prelude')}\n{_text(step)}\nudevadm settle")
        except GuestError as error:
            raise GuestError(f"{step}: {str(error).rpartition('…')[2]}") from error
    guest.run(f"install -d -o {machine.user} /run/recording")
    printed = guest.run(f"cd /; exec runuser -u {machine.user} -- {RECORD} /run/recording")
    packed = guest.run("tar -czf - -C /run/recording .")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-xzf", "-", "-C", folder], input=packed, check=True)
        recording = Path(folder)
        _tidy(recording, note_of(machine))
        _check_size(machine.name, recording)
        _check_whole(machine.name, json.loads(printed), recording)
        place = target / machine.name
        if place.exists():
            shutil.rmtree(place)
        shutil.copytree(recording, place, symlinks=True)
    print(f"{machine.name}: recorded", flush=True)


def _text(step: str) -> str:
    return (STEPS / f"{step}.sh").read_text()


def note_of(machine: Machine) -> str:
    """What a recording says of itself: the first line of each of its steps says what it did."""
    done = [_text(step).split("\n", 1)[0].removeprefix("# ") for step in machine.steps]
    who = "root" if machine.user == "root" else "an ordinary user"
    where = f"recorded: on {machine.image.title}, in qemu, by {who}"
    return ". ".join([where, *done]) + "."


def _tidy(recording: Path, note: str) -> None:
    """Write the note; leave out what stands there for nothing, and what git does not keep."""
    path = recording / "machine.json"
    described = json.loads(path.read_text())
    described["note"] = note
    path.write_text(json.dumps(described, indent=1) + "\n")
    files = recording / "files"
    for name in described["not_read"]:
        place = files / name.lstrip("/")
        if name in described["stat"] and place.is_file() and not place.is_symlink():
            place.unlink()  # that it exists is said there
    folders = [p for p in files.rglob("*") if p.is_dir() and not p.is_symlink()]
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _check_size(name: str, recording: Path) -> None:
    files = [Path(folder, name) for folder, _, names in os.walk(recording) for name in names]
    size = sum(path.lstat().st_size for path in files)
    if len(files) > MOST_FILES or size > MOST_BYTES:
        largest = sorted(files, key=lambda path: -path.lstat().st_size)[:5]
        named = ", ".join(str(path.relative_to(recording)) for path in largest)
        raise GuestError(f"{name}: {len(files)} files, {size} bytes, the largest: {named}")


def _check_whole(name: str, live: Any, recording: Path) -> None:
    """Say where a replay says something else than was said on the machine."""
    report: Any = corpus.by_command(corpus.Machine(recording))
    replayed = {key: result.get("value") for key, result in report["collectors"].items()}
    for line in corpus.differences(live, replayed):
        print(f"{name}: on the machine, and in a replay: {line}", flush=True)


# --- judging ---------------------------------------------------------------------------------


def _judge(machine: Machine, target: Path, collectors: corpus.Collectors) -> bool:
    """Store the report if it says what is right; else say what differs."""
    recorded = corpus.Machine(target / machine.name)
    _tidy(recorded.path, note_of(machine))
    report: Any = collectors.report(recorded)
    values = {name: result.get("value", {}) for name, result in report["collectors"].items()}
    lines = list(_wrong(machine, values))
    for line in lines:
        print(f"{machine.name}: {line}", flush=True)
    if not lines:
        recorded.expect(report)
    return not lines


def _wrong(machine: Machine, values: Mapping[str, Any]) -> Iterable[str]:
    for (collector, key), right in machine.right.items():
        found = values[collector].get(key)
        if isinstance(found, list) and key == "volumes":
            judged = [volume for volume in found if volume["state"] != "exempt"]
            found = sorted(f"{volume['mount']} {volume['state']}" for volume in judged)
        if found != right:
            yield f"{collector}.{key} is {found!r}, must be {right!r}"


if __name__ == "__main__":
    sys.exit(main())
