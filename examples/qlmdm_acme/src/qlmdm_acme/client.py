"""Collects the number of the badge that belongs to a laptop; runs on every client."""

from qlmdm_acme.release import qlmdm_release_installed, qlmdm_release_objections  # noqa: F401
from qlmdm_core import JSON, Collector, Host, hookimpl, unknown


def collect(host: Host) -> JSON:
    """The badge's number is in a file that the front desk writes."""
    try:
        return {"state": "present", "number": host.read("/etc/acme/badge").strip()}
    except FileNotFoundError:
        return {"state": "absent"}
    except OSError as error:
        return unknown(f"/etc/acme/badge can't be read: {error.strerror}")


@hookimpl
def qlmdm_register_collectors() -> list[Collector]:
    fields = {"number": "The number that the front desk wrote on it."}
    return [Collector(name="acme_badge", run=collect, help="The laptop's badge.", fields=fields)]
