"""qlmdm plugins: ESET and Prey: collectors and audit checks."""
