"""qlmdm plugins: the distro adapter for Ubuntu, Debian and their derivatives."""
