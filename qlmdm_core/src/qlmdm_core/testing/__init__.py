"""The kit for plugin authors: machines that are only recorded, and suites to pass.

Example::

    from qlmdm_core.testing import RecordedMachine
"""

from __future__ import annotations

from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing.distributions import write_distribution
from qlmdm_core.testing.machine import RecordedMachine

__all__ = ["RecordedMachine", "ReplayHost", "write_distribution"]
