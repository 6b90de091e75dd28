"""Puts the server's private keys under M of N people: no M-1 of them can use or restore one.

`words` turns a random key into words for each keeper and back (SLIP-39), `bundle` is the file
that this key opens, `split` is what `qlmdm-keys split|combine|reshare` do.
"""
