"""What is collected, a module per collector; each has `collect(host)`."""
