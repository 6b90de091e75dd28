"""Builds the disks that machines are started from, without being able to mount any.

A system is unpacked into a folder by mmdebstrap, configured there, and written into a disk
image: a partition for /boot and one for the root, either plain or in LUKS2. The container is
filled by our own AES-XTS, because the device-mapper of the machine that builds may be out of
reach (in a container, say).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import struct
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MIB = 1 << 20
SECTOR = 4096
HEADER = 16 * MIB
"""Where the data of a LUKS2 container begins, unless cryptsetup is told otherwise."""
BOOT_AT, BOOT_SIZE = MIB, 127 * MIB
ROOT_AT, ROOT_SIZE = 128 * MIB, 1408 * MIB
BOOT_UUID = "3f1f6b0c-52cf-4d0e-8f6c-2f2d6f3a0b01"
ROOT_UUID = "8d0f1f5e-96a1-4f8b-b6a4-6a4f3b7c0c02"

UBUNTU_KEYS = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
"""From Ubuntu's package ubuntu-keyring."""
SOURCES = {
    **{
        suite: (
            f"deb http://deb.debian.org/debian {suite} main",
            f"deb http://deb.debian.org/debian {suite}-updates main",
            f"deb http://deb.debian.org/debian-security {suite}-security main",
        )
        for suite in ("bookworm", "trixie")
    },
    **{
        suite: tuple(
            f"deb [signed-by={UBUNTU_KEYS}] http://archive.ubuntu.com/ubuntu {suite}{pocket}"
            " main universe"
            for pocket in ("", "-updates", "-security")
        )
        for suite in ("jammy", "noble")
    },
}
KERNELS = {"bookworm": "linux-image-amd64", "trixie": "linux-image-amd64"}
"""Not Debian's kernel for clouds: that has neither md nor bcache. Elsewhere Ubuntu's, that has."""


def _words(text: str) -> list[str]:
    return text.split()


PACKAGES = _words(
    "bcache-tools btrfs-progs busybox ca-certificates cron cryptsetup cryptsetup-bin"
    " cryptsetup-initramfs dbus dmidecode dmsetup e2fsprogs ecryptfs-utils fdisk fscrypt gnupg"
    " initramfs-tools iproute2 keyutils kmod libpam-systemd lvm2 mdadm multipath-tools"
    " openssh-client openssh-server passwd procps python3 python3-yaml qemu-guest-agent sudo"
    " systemd-sysv thin-provisioning-tools tzdata udev xfsprogs zstd"
)
MISSING = {"trixie": {"ecryptfs-utils"}}
LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    *(
        f"{prefix}/lib/modules/*/kernel/{folder}/*"
        for prefix in ("", "/usr")
        for folder in (
            "sound",
            "net/wireless",
            *(
                f"drivers/{name}"
                for name in _words(
                    "gpu media iio infiniband staging hwmon platform hid input bluetooth"
                    " comedi isdn usb mmc mtd thunderbolt accel net/ethernet net/wireless"
                    " net/usb net/can"
                )
            ),
        )
    ),
)
"""Nothing that these machines have, or that a collector looks at."""
MODULES = _words(
    "virtio_pci virtio_blk virtio_scsi virtio_net virtio_rng virtio_console ext4 crc32c_generic"
    " crc32c_intel dm_crypt dm_mod xts ecb aesni_intel sha256_generic algif_skcipher"
)
QUIET = _words(
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer"
    " e2scrub_reap.service fstrim.timer keyboard-setup.service console-setup.service"
    " systemd-firstboot.service systemd-networkd-wait-online.service multipathd.service"
    " multipathd.socket mdcheck_start.timer mdcheck_continue.timer"
    " mdmonitor-oneshot.timer motd-news.timer apt-news.service esm-cache.service"
    " ua-timer.timer networkd-dispatcher.service"
)
"""What would only take time, or take the disks that a step is to put together."""
NETWORK = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=ipv4\n"


@dataclass(frozen=True, kw_only=True)
class Image:
    """A system that machines are started from."""

    suite: str
    encrypted: bool
    """Whether its root lies in LUKS2."""
    packages: tuple[str, ...] = ()
    """What is installed beside `PACKAGES`."""

    @property
    def title(self) -> str:
        """In a recording's note."""
        system = {
            "bookworm": "Debian 12",
            "trixie": "Debian 13",
            "jammy": "Ubuntu 22.04",
            "noble": "Ubuntu 24.04",
        }[self.suite]
        return f"{system} with its root {'in LUKS2' if self.encrypted else 'not encrypted'}"


@dataclass(frozen=True, kw_only=True)
class Built:
    """Where the parts of an image are."""

    folder: Path
    disk: Path
    kernel: Path
    initrd: Path
    root: str
    """As the kernel's command line names it."""


def build(image: Image, folder: Path) -> Built:
    """Build an image under `folder`, unless it is there."""
    text = repr((image, PACKAGES, LEFT_OUT, MODULES, QUIET))
    name = f"{image.suite}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    built = Built(
        folder=folder / name,
        disk=folder / name / "disk.img",
        kernel=folder / name / "vmlinuz",
        initrd=folder / name / "initrd.img",
        root="/dev/mapper/vda2_crypt" if image.encrypted else "/dev/vda2",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be building it
        if not built.disk.exists():
            _build(image, built)
    return built


def _build(image: Image, built: Built) -> None:
    tree = built.folder / "tree"
    if built.folder.exists():
        _remove(built.folder)
    built.folder.mkdir()
    key = secrets.token_urlsafe(24)
    _unpack(image, tree)
    _configure(image, tree, key)
    _make_boot(tree, built)
    _write_disk(image, tree, built, key)
    _remove(tree)


def _remove(folder: Path) -> None:
    """Remove a folder, but nothing that an interrupted mmdebstrap left mounted in it."""
    _run("rm", "-rf", "--one-file-system", folder)


def _run(*argv: str | Path, text: str | None = None, fds: Sequence[int] = ()) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, pass_fds=fds)
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


# --- the system ------------------------------------------------------------------------------


def _unpack(image: Image, tree: Path) -> None:
    kernel = KERNELS.get(image.suite, "linux-image-virtual")
    wanted = {*PACKAGES, kernel, *image.packages} - MISSING.get(image.suite, set())
    argv = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(sorted(wanted))}",
        "--aptopt=APT::Install-Recommends false",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT),
        image.suite,
        str(tree),
        *SOURCES[image.suite],
    ]
    # (The initrd is made once, when the system is configured.)
    _run("env", "INITRD=No", *argv)


def _configure(image: Image, tree: Path, key: str) -> None:
    def write(path: str, text: str, mode: int = 0o644) -> None:
        where = tree / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.unlink(missing_ok=True)
        where.write_text(text)
        where.chmod(mode)

    def inside(*argv: str, text: str | None = None) -> None:
        _run("chroot", tree, *argv, text=text)

    write("etc/hostname", "machine\n")
    write("etc/hosts", "127.0.0.1 localhost\n")
    write("etc/resolv.conf", "nameserver 10.0.2.3\n")
    write("etc/machine-id", "5ad7b7a6f64f4e0f9f1c6a1b1c5f3d01\n")
    write("etc/systemd/network/10-cable.network", NETWORK)
    root = "/dev/mapper/vda2_crypt" if image.encrypted else "/dev/vda2"
    write(
        "etc/fstab",
        f"{root} / ext4 errors=remount-ro 0 1\nUUID={BOOT_UUID} /boot ext4 defaults 0 2\n",
    )
    write("etc/initramfs-tools/conf.d/corpus", "MODULES=list\nUMASK=0077\n")
    write("etc/initramfs-tools/modules", "".join(f"{name}\n" for name in MODULES))
    if image.encrypted:
        write("etc/keys/root.key", key, 0o400)
        write("etc/crypttab", f"vda2_crypt UUID={ROOT_UUID} /etc/keys/root.key luks,initramfs\n")
        write("etc/cryptsetup-initramfs/conf-hook", 'KEYFILE_PATTERN="/etc/keys/*.key"\n')
    inside("useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", "ada")
    inside("chpasswd", text=f"ada:{secrets.token_urlsafe(12)}\n")
    inside("systemctl", "-q", "enable", "systemd-networkd", "qemu-guest-agent")
    inside("systemctl", "-q", "mask", *QUIET)


def _make_boot(tree: Path, built: Built) -> None:
    version = next(p.name for p in (tree / "lib/modules").iterdir() if (p / "kernel").is_dir())
    initrd = f"/boot/initrd.img-{version}"
    _run("chroot", tree, "mkinitramfs", "-o", initrd, version)
    shutil.copy(tree / f"boot/vmlinuz-{version}", built.kernel)
    shutil.copy(tree / initrd.lstrip("/"), built.initrd)


# --- the disk --------------------------------------------------------------------------------


def _write_disk(image: Image, tree: Path, built: Built, key: str) -> None:
    whole = ROOT_AT + ROOT_SIZE + MIB
    building = built.folder / "disk.new"
    with open(building, "wb") as file:
        file.truncate(whole)
    table = (
        "label: gpt\n"
        f"start={BOOT_AT // 512}, size={BOOT_SIZE // 512}, type=linux\n"
        f"start={ROOT_AT // 512}, size={ROOT_SIZE // 512}, type=linux\n"
    )
    _run("sfdisk", "-q", building, text=table)
    boot, root = built.folder / "boot.fs", built.folder / "root.fs"
    _make_ext4(boot, tree / "boot", BOOT_SIZE, BOOT_UUID)
    _empty(tree / "boot")
    if not image.encrypted:
        _make_ext4(root, tree, ROOT_SIZE, ROOT_UUID)
        _copy(root, building, ROOT_AT)
    else:
        _make_ext4(root, tree, ROOT_SIZE - HEADER, "random")
        header = built.folder / "header"
        volume_key = _format_luks(header, key)
        _copy(header, building, ROOT_AT)
        _encrypt(root, building, ROOT_AT + HEADER, volume_key)
        header.unlink()
    _copy(boot, building, BOOT_AT)
    boot.unlink()
    root.unlink()
    building.rename(built.disk)


def _make_ext4(file: Path, tree: Path, size: int, uuid: str) -> None:
    _run(
        *("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-m", "1", "-U", uuid),
        *("-E", "lazy_itable_init=1,lazy_journal_init=1", "-d", tree, file, str(size // 4096)),
    )


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _copy(source: Path, disk: Path, at: int) -> None:
    with open(source, "rb") as read, open(disk, "r+b") as written:
        written.seek(at)
        shutil.copyfileobj(read, written, 4 * MIB)


def _format_luks(file: Path, key: str) -> bytes:
    """Write a LUKS2 header of a container that is yet to be filled; its volume key."""
    volume_key = secrets.token_bytes(64)
    handle = os.memfd_create("volume-key")
    try:
        os.write(handle, volume_key)
        with open(file, "wb") as container:
            container.truncate(HEADER)
        _run(
            *("cryptsetup", "luksFormat", "-q", "--type", "luks2", "--uuid", ROOT_UUID),
            *("--cipher", "aes-xts-plain64", "--key-size", "512", "--sector-size", str(SECTOR)),
            *("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--offset"),
            *(str(HEADER // 512), "--volume-key-file", f"/proc/self/fd/{handle}"),
            *("--key-file", "-", file),
            text=key,
            fds=[handle],
        )
    finally:
        os.close(handle)
    return volume_key


def _encrypt(plain: Path, disk: Path, at: int, key: bytes) -> None:
    """Write a file system into the container, as dm-crypt would."""
    size = plain.stat().st_size
    step = 32 * MIB
    starts = range(0, size, step)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_encrypt_part, plain, disk, at, key, s, step) for s in starts]
        for job in jobs:
            job.result()


def _encrypt_part(plain: Path, disk: Path, at: int, key: bytes, start: int, size: int) -> None:
    algorithm = algorithms.AES(key)
    with open(plain, "rb") as read, open(disk, "r+b") as written:
        read.seek(start)
        data = memoryview(read.read(size))
        done = bytearray()
        for place in range(0, len(data), SECTOR):
            # aes-xts-plain64 counts in units of 512 bytes, whatever the sector's size.
            tweak = struct.pack("<QQ", (start + place) // 512, 0)
            cipher = Cipher(algorithm, modes.XTS(tweak)).encryptor()
            done += cipher.update(data[place : place + SECTOR])
        written.seek(at + start)
        written.write(done)
