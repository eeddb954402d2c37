"""Counting what the ledger and the Provenance of the record say was done (R014.4)."""
