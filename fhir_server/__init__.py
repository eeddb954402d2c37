"""The FHIR server: who may, what is stored, and how it is asked for."""
