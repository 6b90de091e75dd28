"""One-time commands on the client: verified, journaled, carried out at most once, reported."""
