"""qlmdm plugins: the distro adapter for Arch Linux and its derivatives."""
