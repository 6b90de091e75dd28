"""The qlmdm plugins of ACME Inc.: an example to copy from."""
