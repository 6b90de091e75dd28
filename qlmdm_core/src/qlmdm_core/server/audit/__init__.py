"""Finds what should be fixed: judges stored reports, keeps issues, says what is due.

`rules` (what to judge by) · `judge` (one client) · `workers` (the fleet, in processes that can
be given up) · `alerts` (what to say, and to whom) · `run` (all of it, once)."""
