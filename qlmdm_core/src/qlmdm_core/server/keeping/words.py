"""A key as words for N people, any M of whom have it together: SLIP-39, by shamir-mnemonic.

Each share is 33 words with a checksum of their own, so that a misread word is found in the
share that has it, before anything is tried with it. What is said about a share never repeats
its words.

What M-1 shares tell: every key is as possible as every other, but for the four bytes of digest
by which SLIP-39 finds a forged share. They leave 2^224 keys of 2^256.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.wordlist import WORDLIST

from qlmdm_core.errors import QlmdmError, UsageError

KEY_BYTES = 32
WORDS = 33
"""Of a share of 256 bits."""
MOST = 16
"""Shares that SLIP-39 can number."""
MARK = "Words:"
"""The line of a share's file after which only the words follow."""


class ShareError(QlmdmError):
    """A share, or a set of them, can't be used: which one, why, and what to do."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class ReadShare:
    """A share whose checksum is right; whether it is the right one is not known yet."""

    where: str
    """Where it was read, for messages."""
    number: int
    """From 1."""
    threshold: int
    set_id: int
    """The same for all shares of one splitting, another for any other (but once in 32768)."""
    words: str


def check_numbers(keepers: int, threshold: int) -> None:
    """Raise `UsageError` unless a key can be split so."""
    if not 1 <= keepers <= MOST:
        raise UsageError(f"--keepers: expected 1 to {MOST}, not {keepers}")
    if not 1 <= threshold <= keepers:
        raise UsageError(f"--threshold: expected 1 to {keepers} (--keepers), not {threshold}")
    if threshold == 1 and keepers > 1:
        raise UsageError(
            "--threshold 1: each keeper alone would have the key; ask for 2 at least, or give "
            "one keeper a copy"
        )


def split_key(key: bytes, keepers: int, threshold: int) -> tuple[int, list[str]]:
    """The id of this set, and the words of each share."""
    check_numbers(keepers, threshold)
    # No passphrase is used, so there is nothing that iterations would slow down.
    (made,) = generate_mnemonics(1, [(threshold, keepers)], key, iteration_exponent=0)
    return Share.from_mnemonic(made[0]).identifier, list(made)


def read_share(text: str, where: str) -> ReadShare:
    """The share in the text of a file, or that somebody typed. Raises `ShareError`."""
    if "BEGIN PGP MESSAGE" in text:
        raise ShareError(
            f"{where}: this share is encrypted to its keeper, who reads it by: gpg --decrypt FILE"
        )
    marked = text.rpartition(f"\n{MARK}")
    found = re.findall(r"[a-z]+", (marked[2] if marked[1] else text).lower())
    unknown = [at for at, word in enumerate(found, 1) if word not in _KNOWN]
    if 2 * len(unknown) >= len(found):
        raise ShareError(f"{where}: there are no words of a share in it; is it another file?")
    if unknown:
        places = ", ".join(map(str, unknown))
        raise ShareError(
            f"{where}: not in the list of words: the word at place {places}; look at the share "
            "again (no two words of the list have the same first four letters)"
        )
    if len(found) != WORDS:
        raise ShareError(f"{where}: a share has {WORDS} words, this has {len(found)}")
    words = " ".join(found)
    try:
        share = Share.from_mnemonic(words)
    except MnemonicError:
        raise ShareError(
            f"{where}: the checksum is wrong: a word of this share was misread, or two changed "
            "places; compare it with what its keeper has, or take another keeper's share"
        ) from None
    if (share.group_count, share.group_threshold) != (1, 1) or len(share.value) != KEY_BYTES:
        raise ShareError(f"{where}: a share that was made by another program, for another purpose")
    return ReadShare(
        where=where,
        number=share.index + 1,
        threshold=share.member_threshold,
        set_id=share.identifier,
        words=words,
    )


_KNOWN = frozenset(WORDLIST)


def combine(shares: Sequence[ReadShare], set_id: int) -> bytes:
    """The key that was split. Raises `ShareError`, which names the share that is at fault."""
    for share in shares:
        if share.set_id != set_id:
            raise ShareError(
                f"{share.where}: this share is of another set ({share.set_id}) than the bundle "
                f"({set_id}): it is from before a reshare, or of another key; take this set's"
            )
    seen: dict[int, ReadShare] = {}
    for share in shares:
        if share.number in seen:
            raise ShareError(
                f"{share.where}: the same share, number {share.number}, as in "
                f"{seen[share.number].where}; it counts once; take another keeper's"
            )
        seen[share.number] = share
    wanted = shares[0].threshold if shares else 0
    for share in shares:
        if share.threshold != wanted:
            raise ShareError(
                f"{share.where}: says that {share.threshold} shares are needed, but "
                f"{shares[0].where} says {wanted}: one of them was not made by this splitting"
            )
    if not shares or len(shares) < wanted:
        more = wanted - len(shares) if wanted else "some"
        raise ShareError(
            f"{len(shares)} of the {wanted or 'needed'} shares are here; {more} more: ask other "
            "keepers. With fewer, nothing can be told about the key"
        )
    return _agreed(shares, wanted)


def _agreed(shares: Sequence[ReadShare], wanted: int) -> bytes:
    """The key in the first shares; the others must tell the same."""
    first = [share.words for share in shares[:wanted]]
    try:
        key = combine_mnemonics(first)
    except MnemonicError:
        names = ", ".join(share.where for share in shares[:wanted])
        raise ShareError(
            f"these shares don't belong together, though each is whole: {names}; one of them was "
            "made up or is of another set with the same number; exchange one after the other"
        ) from None
    for share in shares[wanted:]:
        try:
            other = combine_mnemonics([*first[: wanted - 1], share.words])
        except MnemonicError:
            other = b""
        if other != key:
            raise ShareError(
                f"{share.where}: does not belong to the others; leave it out, and ask its keeper "
                "where it is from"
            )
    return bytes(key)
