"""Collects whether the firmware starts only what is signed: UEFI Secure Boot.

What decides is what the Linux kernel goes by: the firmware's variable SecureBoot is 1,
SetupMode is not (then anybody may put in keys), and shim, which most distributions start
first, was not told to let everything through (`mokutil --disable-validation`).
"""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.api import JSON, CommandResult, Host, unknown
from qlmdm_plugins_builtin.collectors import _virtualization
from qlmdm_plugins_builtin.collectors.text import text_of

EFI = "/sys/firmware/efi"
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # EFI_GLOBAL_VARIABLE: UEFI specification, 3.3
_SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"  # MOK_VARIABLE_STORE of shim


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one source says. None: it doesn't."""

    secure_boot: bool | None = None
    setup_mode: bool | None = None
    shim_validates: bool | None = None
    reason: str = ""
    """Why it doesn't say."""
    unsupported: bool = False
    """The firmware has no Secure Boot."""


def collect(host: Host) -> JSON:
    """`enabled`, `disabled`, `unknown`, or `not_available`: not started by UEFI, or without it.

    `lockdown` is the kernel's own: with Secure Boot, most distributions' kernels refuse that root
    changes them (kernel_lockdown(7)).
    """
    evidence: dict[str, JSON] = {"lockdown": parse_lockdown(text_of(host, _LOCKDOWN))}
    if kind := _virtualization.container(host):
        return unknown(f"this is a container ({kind}): it is not what is started", **evidence)
    if not host.exists(EFI):
        return _without_efi(host, evidence)
    evidence["firmware"] = "uefi"
    read, said = _variables(host), _mokutil(host.run(("mokutil", "--sb-state")))
    answer = Answer(
        secure_boot=_either(read.secure_boot, said.secure_boot),
        setup_mode=_either(read.setup_mode, said.setup_mode),
        shim_validates=_either(read.shim_validates, said.shim_validates),
        reason=read.reason or said.reason,
    )
    evidence |= {
        "secure_boot": answer.secure_boot,
        "setup_mode": answer.setup_mode,
        "shim_validates": answer.shim_validates,
    }
    if read.unsupported:
        return {"state": "not_available", "reason": read.reason, **evidence}
    if answer.secure_boot is None:
        return unknown(answer.reason, **evidence)
    if None not in (read.secure_boot, said.secure_boot) and read.secure_boot != said.secure_boot:
        return unknown("mokutil and the firmware's variables contradict each other", **evidence)
    if why := _why_not(answer):
        return {"state": "disabled", "reason": why, **evidence}
    return {"state": "enabled", **evidence}


def _why_not(answer: Answer) -> str:
    if not answer.secure_boot:
        return "it is turned off in the firmware"
    if answer.setup_mode:
        return "the firmware is in setup mode: it has no key to check by"
    if answer.shim_validates is False:
        return "shim lets everything through: its validation was turned off with mokutil"
    return ""


# --- not UEFI -----------------------------------------------------------------------------------

_LOCKDOWN = "/sys/kernel/security/lockdown"


def _without_efi(host: Host, evidence: dict[str, JSON]) -> JSON:
    """What it means that the kernel has no EFI: mostly that it was started by a BIOS."""
    if not host.exists("/sys/firmware"):
        return unknown("/sys/firmware is not there, so the firmware can't be seen", **evidence)
    if "noefi" in text_of(host, "/proc/cmdline").split():
        return unknown("the kernel was told to leave EFI alone (noefi)", **evidence)
    if "control_d" in text_of(host, "/proc/xen/capabilities"):
        return unknown("Xen hides the firmware from this system", **evidence)
    for path, what in (("/sys/firmware/ipl", "IPL"), ("/sys/firmware/secvar", "OpenPOWER")):
        if host.exists(path):
            reason = f"how {what} checks what it starts is not known to us"
            return unknown(reason, firmware=what.lower(), **evidence)
    firmware, how = "bios", "it was started by a BIOS, or by UEFI's emulation of one"
    if host.exists("/sys/firmware/devicetree/base"):
        firmware, how = "devicetree", "it was started without UEFI (by a device tree)"
    return {"state": "not_available", "reason": how, "firmware": firmware, **evidence}


# --- sources ------------------------------------------------------------------------------------


def _variables(host: Host) -> Answer:
    """The firmware's variables, as the kernel shows them in files."""
    folder = f"{EFI}/efivars"
    try:
        names = host.listdir(folder)
    except OSError:
        names = []
    if not names:
        # With efi=noruntime (the default of real-time kernels), or if nobody mounted it.
        return Answer(reason="the firmware's variables (efivarfs) are not mounted")
    try:
        secure_boot = parse_variable(host.read(f"{folder}/SecureBoot-{_GLOBAL}"))
    except FileNotFoundError:
        return Answer(reason="the firmware has no Secure Boot", unsupported=True)
    except OSError as error:
        return Answer(reason=f"the variable SecureBoot: {error.strerror}")
    if secure_boot is None:
        return Answer(reason="the variable SecureBoot is not understood")
    try:
        validates = _opposite(parse_variable(host.read(f"{folder}/MokSBStateRT-{_SHIM}")))
    except OSError:
        validates = None  # no shim, or one that nothing was turned off in
    return Answer(
        secure_boot=secure_boot,
        setup_mode=parse_variable(text_of(host, f"{folder}/SetupMode-{_GLOBAL}")),
        shim_validates=validates,
    )


def parse_variable(text: str) -> bool | None:
    """A variable of one byte, 0 or 1, behind the four bytes of its attributes.

    See Documentation/filesystems/efivarfs in the kernel. All of these bytes are below 128, so
    that they survive being read as text.

    >>> parse_variable("\\x06\\0\\0\\0\\x01")
    True
    """
    return {"\0": False, "\x01": True}.get(text[4:]) if len(text) == 5 else None


def _either(first: bool | None, second: bool | None) -> bool | None:
    return second if first is None else first


def _opposite(value: bool | None) -> bool | None:
    return None if value is None else not value


def _mokutil(result: CommandResult) -> Answer:
    return parse_mokutil(result.stdout + result.stderr) if result.found else Answer()


def parse_mokutil(text: str) -> Answer:
    """What `mokutil --sb-state` prints; it tells of the same variables.

    >>> parse_mokutil("SecureBoot enabled\\n").secure_boot
    True
    """
    lines = {line.strip() for line in text.splitlines()}
    if "SecureBoot enabled" in lines:
        validates = "SecureBoot validation is disabled in shim" not in lines
        return Answer(secure_boot=True, shim_validates=None if validates else False)
    if "SecureBoot disabled" in lines:
        setup = True if "Platform is in Setup Mode" in lines else None
        return Answer(secure_boot=False, setup_mode=setup)
    return Answer(reason="mokutil does not know, either" if lines else "")


def parse_lockdown(text: str) -> str | None:
    """The mode in brackets: `none [integrity] confidentiality`; None if there is none."""
    for word in text.split():
        if word in ("[none]", "[integrity]", "[confidentiality]"):
            return word[1:-1]
    return None
