"""ACME's say in new releases of the client: none during a freeze, and one thing to do after."""

from qlmdm_core import Host, Objection, hookimpl

FREEZE = "/etc/acme/freeze"


@hookimpl
def qlmdm_release_objections(stage: str) -> list[Objection]:
    """While the file is there, nothing on this laptop is to change. What it says is the reason."""
    if stage != "install":
        return []
    try:
        with open(FREEZE, encoding="utf-8", errors="replace") as file:
            why = file.read(200).strip()
    except FileNotFoundError:
        return []
    return [Objection(reason=f"change freeze: {why or FREEZE}")]


@hookimpl
def qlmdm_release_installed(host: Host) -> None:
    """The badge daemon looks where the agent is only when it starts. Twice does no harm."""
    if not host.exists("/etc/systemd/system/acme-badged.service"):
        return
    done = host.run(["systemctl", "try-restart", "acme-badged.service"])
    if done.returncode != 0:
        raise RuntimeError(f"acme-badged does not come up again: {done.stderr[:200]}")
