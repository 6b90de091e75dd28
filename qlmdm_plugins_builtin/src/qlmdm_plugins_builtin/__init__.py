"""qlmdm plugins: collectors and audit checks for any Linux."""
