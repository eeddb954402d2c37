"""DICOM keys said in FHIR search, and matched on rows where they cannot be."""

import pytest

from dicom_bridge.mapping import attributes
from dicom_bridge.mapping.attributes import Asked, studies
from resources.errors import Invalid


@pytest.mark.parametrize(
    ("keyword", "key", "pairs"),
    [
        ("StudyInstanceUID", "1.2.3", [("identifier", "urn:dicom:uid|urn:oid:1.2.3")]),
        (
            "StudyInstanceUID",
            r"1.2\1.3",
            [("identifier", "urn:dicom:uid|urn:oid:1.2,urn:dicom:uid|urn:oid:1.3")],
        ),
        ("AccessionNumber", "A,1|2", [("identifier", r"A\,1\|2")]),
        (
            "ModalitiesInStudy",
            r"CT\MR",
            [
                (
                    "modality",
                    "http://dicom.nema.org/resources/ontology/DCM|CT,"
                    "http://dicom.nema.org/resources/ontology/DCM|MR",
                )
            ],
        ),
        ("PatientID", "9000000009", [("patient.identifier", "9000000009")]),
        ("PatientSex", "F", [("patient.gender", "female")]),
        ("PatientBirthDate", "19700101", [("patient.birthdate", "1970-01-01")]),
        (
            "PatientBirthDate",
            "19700101-19700131",
            [("patient.birthdate", "ge1970-01-01"), ("patient.birthdate", "le1970-01-31")],
        ),
    ],
)
def test_a_key_that_fhir_can_say_is_said_in_fhir(
    keyword: str, key: str, pairs: list[tuple[str, str]]
) -> None:
    assert studies({keyword: key}) == Asked(tuple(pairs), (), {})


@pytest.mark.requirement("R015.2")
@pytest.mark.parametrize(
    ("key", "pattern"), [("Westvale", "westvale"), ("West*", "west%"), ("*v?le", "%v_le")]
)
def test_an_institution_is_asked_for_by_the_names_of_sources(key: str, pattern: str) -> None:
    assert studies({"InstitutionName": key}) == Asked(words=(("source-name", pattern),))


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("StudyID", "7"),
        ("AccessionNumber", "A*"),
        ("PatientID", "9?"),
        ("ModalitiesInStudy", "C*"),
        ("ReferringPhysicianName", "Ex*"),
        ("StudyTime", "10-11"),
        ("PatientSex", "X"),
    ],
)
def test_a_key_that_fhir_cannot_say_is_matched_on_the_rows(keyword: str, key: str) -> None:
    assert studies({keyword: key}) == Asked((), (), {keyword: key})


def test_a_date_is_narrowed_by_a_day_on_each_side_and_matched_exactly_on_the_rows() -> None:
    assert studies({"StudyDate": "20260301-20260331"}) == Asked(
        (("started", "ge2026-02-28"), ("started", "le2026-04-01")),
        (),
        {"StudyDate": "20260301-20260331"},
    )


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("Okafor*", (("family", "okafor%"),)),
        ("OKAFOR^ADA", (("family", "okafor"), ("given", "ada"))),
        ("^Ada", (("given", "ada"),)),
        ("*son*", (("name", "%son%"),)),
        ("Müller^J?n", (("family", "muller"), ("given", "j_n"))),
        ("100%_\\", (("family", r"100\%\_\\"),)),
        ("*", ()),
        ("", ()),
    ],
)
def test_a_name_pattern_is_said_of_its_parts(key: str, names: tuple[tuple[str, str], ...]) -> None:
    assert studies({"PatientName": key}).names == names


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("StudyInstanceUID", "1.2.x"),
        ("StudyInstanceUID", "1" * 65),
        ("StudyDate", "yesterday"),
        ("StudyDate", "20261340"),
        ("PatientBirthDate", "19700230"),
    ],
)
def test_what_is_no_uid_and_no_date_is_refused(keyword: str, key: str) -> None:
    with pytest.raises(Invalid):
        studies({keyword: key})


def test_rows_are_matched_into_their_sequences() -> None:
    row = {"00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["RP1"]}}]}}

    assert attributes.matches(row, {"RequestAttributesSequence.RequestedProcedureID": "RP*"})
    assert not attributes.matches(row, {"RequestAttributesSequence.RequestedProcedureID": "X"})


@pytest.mark.standard("PS3.18 F.2.2")
def test_values_are_read_as_dicom_writes_them() -> None:
    assert attributes.values({"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]}) == [
        "A^B==C"
    ]
    assert attributes.values({"vr": "IS", "Value": [3]}) == ["3"]
    assert attributes.values(None) == []
