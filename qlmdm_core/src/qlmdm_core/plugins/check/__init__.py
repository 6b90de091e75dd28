"""Tries out whether a distribution keeps the contract: `qlmdm-plugins check DISTRIBUTION`.

`findings` (what is said) · `paper` (metadata, names) · `inspected` (a fresh interpreter of each
side, in which `client_side` and `server_side` load the plugin) · `isolated` (the collectors, as
on a client) · `traced` (the same under strace) · `run` (all of it, in order).

Nothing of the plugin is imported by the command itself.
"""
