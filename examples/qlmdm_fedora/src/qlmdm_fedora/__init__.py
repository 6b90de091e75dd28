"""The qlmdm adapter to Fedora, RHEL and their relatives: an example of a third party's adapter."""
