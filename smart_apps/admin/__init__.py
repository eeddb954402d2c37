"""Pages for those who run the record: administrators, auditors, clinical safety officers."""
