"""The audit ledger: append-only rows, durable before the answer, read back as AuditEvent."""
