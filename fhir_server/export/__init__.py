"""Bulk export: what an asker sees, as files of one resource a line (HL7 Bulk Data Access 2.0)."""
