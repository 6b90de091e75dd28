"""The boundary to the machine: `api.Host` for a real machine, a recorded one, and a recorder."""
