"""Terminology: which codes there are, what they mean, and which value sets they are in.

FHIR R4 terminology-service.
"""
