"""Remote wipe on the server: the plan, who signs it, the cancel window, what became of it."""
