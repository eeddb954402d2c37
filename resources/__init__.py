"""What FHIR and the requirements say, as data and pure functions: no I/O, no HTTP, no DICOM."""
