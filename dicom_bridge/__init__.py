"""DICOM in and out: DIMSE, DICOMweb; the only package that imports pydicom."""
