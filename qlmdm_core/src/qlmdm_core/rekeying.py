"""What is signed when a key speaks for another: a client's next key, or that of a copied machine.

Each text says what it is for, for which server and client, from which key to which, and names
the nonce of the one message that it comes in: it is worth nothing anywhere else. No message of
a client begins like these, so that none can be taken for the other.
"""

from __future__ import annotations


def proof_text(server_id: str, cid: str, old: str, new: str, nonce: str) -> bytes:
    """Signed by the NEW key, in a message signed by the old one: who asks for it has it, too.

    Without it a client could name somebody else's key as its own next one.
    """
    return _text("qlmdm-rekey", server_id, cid, old, new, nonce)


def copy_text(server_id: str, cid: str, old: str, new: str, nonce: str) -> bytes:
    """Signed by the OLD key, in a message signed by the new one: this machine is a copy of `cid`.

    It shows that the copy has what the original has, which a stranger has not.
    """
    return _text("qlmdm-copy", server_id, cid, old, new, nonce)


def _text(*words: str) -> bytes:
    return "\n".join(words).encode("utf-8")
