"""The version that all five distributions share; they are released in lockstep."""

__version__ = "1.0.0.dev0"
