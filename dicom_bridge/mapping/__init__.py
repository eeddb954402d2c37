"""DICOM attributes and FHIR elements, translated by walking tables."""
