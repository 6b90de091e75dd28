"""Client releases on the server: built, signed, rolled out, served."""
