"""FHIR search: a query string becomes a tree of criteria, and that one SQL statement."""
