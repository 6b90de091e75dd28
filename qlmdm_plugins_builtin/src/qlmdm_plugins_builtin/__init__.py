"""qlmdm plugins: collectors, audit checks and notifiers for any Linux."""
