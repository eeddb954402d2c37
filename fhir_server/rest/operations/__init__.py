"""Operations: one module each, and `table`, which says what each is called and takes.

FHIR R4 operations: "The RESTful API ... is extended by operations".
"""
