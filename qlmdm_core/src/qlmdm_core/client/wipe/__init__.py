"""Wiping this machine: the plan, the proof that it is the one that is meant, and the act."""
