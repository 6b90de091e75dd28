"""One-time commands on the server: queued, signed, handed out, followed."""
