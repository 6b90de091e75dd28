"""What is judged, a module per subject; each has its checks as `AuditCheck` descriptors."""
