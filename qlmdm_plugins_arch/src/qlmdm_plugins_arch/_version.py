"""The version that all five distributions share."""

__version__ = "1.0.0.dev0"
