"""The table of events against what the standards say."""

import pytest

from fhir_server.audit.events import EVENTS, event
from fhir_server.rest.router import INTERACTIONS

REST = "http://terminology.hl7.org/CodeSystem/audit-event-type"
DCM = "http://dicom.nema.org/resources/ontology/DCM"


@pytest.mark.standard("FHIR AuditEvent.subtype, restful-interaction")
@pytest.mark.parametrize(
    ("interaction", "action"),
    [
        ("read", "R"),
        ("vread", "R"),
        ("history-instance", "R"),
        ("search-type", "E"),
        ("create", "C"),
        ("update", "U"),
        ("delete", "D"),
        ("transaction", "E"),
        ("batch", "E"),
    ],
)
def test_a_restful_interaction_is_its_own_subtype(interaction: str, action: str) -> None:
    row = event(interaction)

    assert (row.type.system, row.type.code) == (REST, "rest")
    assert row.subtype is not None
    assert row.subtype.code == interaction
    assert row.action == action


@pytest.mark.standard("PS3.16 CID 400")
@pytest.mark.parametrize(
    ("interaction", "code", "action"),
    [
        ("C-STORE", "110104", "C"),
        ("STOW-RS", "110104", "C"),
        ("C-FIND", "110112", "E"),
        ("QIDO-RS", "110112", "E"),
        ("C-GET", "110104", "R"),
        ("WADO-RS", "110103", "R"),
        ("login", "110114", "E"),
        ("import", "110107", "C"),
        ("export", "110106", "R"),
    ],
)
def test_a_dicom_interaction_has_the_code_of_the_audit_message(
    interaction: str, code: str, action: str
) -> None:
    row = event(interaction)

    assert (row.type.system, row.type.code, row.action) == (DCM, code, action)


@pytest.mark.standard("IHE BALP")
@pytest.mark.parametrize(
    ("interaction", "is_source"),
    [("create", True), ("update", True), ("search-type", True), ("read", False), ("vread", False)],
)
def test_the_asker_is_the_source_but_for_what_it_reads(interaction: str, is_source: bool) -> None:
    assert event(interaction).asker_is_source is is_source


def test_every_interaction_of_the_rest_interface_has_a_row() -> None:
    assert {row.name for row in INTERACTIONS} <= EVENTS.keys()


def test_an_interaction_without_a_row_can_still_be_told() -> None:
    assert event("something new").type.code == "110100"


@pytest.mark.standard("PS3.15 A.5.3.12")
@pytest.mark.parametrize(("interaction", "code"), [("login", "110122"), ("logout", "110123")])
def test_to_sign_in_and_to_sign_out_are_told_apart(interaction: str, code: str) -> None:
    row = event(interaction)

    assert row.subtype is not None
    assert (row.type.code, row.subtype.code, row.action) == ("110114", code, "E")
