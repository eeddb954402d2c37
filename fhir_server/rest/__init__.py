"""The FHIR RESTful API: one module an interaction."""
