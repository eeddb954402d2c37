"""Unified Procedure Steps: Tasks as worklists of DICOM see and change them, by either protocol."""
