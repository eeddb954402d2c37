"""DIMSE services on one port, by pynetdicom made event-driven."""
