"""An AuditEvent as the XML audit message that syslog receivers of ATNA read.

FHIR AuditEvent was made from this message: each element has its place there, which the tables name.

References
----------
* DICOM PS3.15 Section A.5.1 (audit message schema)
* FHIR R4 AuditEvent, "Mappings: DICOM Tag Mapping"; IHE ITI-20 (Record Audit Event), Section 3.20
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from resources import codes

Json = Mapping[str, Any]

SYSTEMS: Final = {codes.DCM: "DCM"}
"""FHIR system -> codeSystemName; all other systems keep their URL."""

PATIENT_NUMBER: Final = ("2", "RFC-3881", "Patient Number")
STUDY: Final = ("110180", "DCM", "Study Instance UID")
ADDRESS: Final = ("12", "RFC-3881", "URI")
SEARCH: Final = ("10", "RFC-3881", "Search Criteria")
"""ParticipantObjectIDTypeCode: csd-code, codeSystemName, originalText (PS3.15 Section A.5.1)."""


SECURITY_RESOURCE: Final = "13"
"""ParticipantObjectTypeCodeRole of an audit log (PS3.15 Section A.5.3.2)."""


def message(event: Json) -> bytes:
    """Write an AuditEvent as an audit message, in UTF-8 and without a byte order mark."""
    root = Element("AuditMessage")
    _event(root, event)
    for agent in event.get("agent", ()):
        _participant(root, agent)
    _source(root, event.get("source", {}))
    for entity in [*event.get("entity", ()), _itself(event)]:
        _object(root, entity)
    text: bytes = tostring(root, "UTF-8", xml_declaration=True)
    return text.replace(b"\n", b" ", 1)


def _event(root: Element, event: Json) -> None:
    given = {
        "EventActionCode": event.get("action"),
        "EventDateTime": event.get("recorded"),
        "EventOutcomeIndicator": event.get("outcome", "0"),
    }
    identification = SubElement(root, "EventIdentification", _present(given))
    _code(identification, "EventID", event.get("type", {}))
    for subtype in event.get("subtype", ()):
        _code(identification, "EventTypeCode", subtype)
    if said := event.get("outcomeDesc"):
        SubElement(identification, "EventOutcomeDescription").text = _clean(said)
    for purpose in _codings(event.get("purposeOfEvent", ())):
        _code(identification, "PurposeOfUse", purpose)


def _participant(root: Element, agent: Json) -> None:
    who, network = agent.get("who", {}), agent.get("network", {})
    given = {
        "UserID": _named(who) or agent.get("name") or "unknown",
        "AlternativeUserID": agent.get("altId"),
        "UserName": agent.get("name") or who.get("display"),
        "UserIsRequestor": "true" if agent.get("requestor") else "false",
        "NetworkAccessPointID": network.get("address"),
        "NetworkAccessPointTypeCode": network.get("type"),
    }
    participant = SubElement(root, "ActiveParticipant", _present(given))
    for coding in _codings([agent.get("type", {})]):
        _code(participant, "RoleIDCode", coding)
    for role in agent.get("role", ()):
        for coding in role.get("coding", [{"code": role.get("text"), "system": "local"}]):
            _code(participant, "RoleIDCode", coding)


def _source(root: Element, source: Json) -> None:
    given = {
        "AuditSourceID": _named(source.get("observer", {})) or "unknown",
        "AuditEnterpriseSiteID": source.get("site"),
    }
    identification = SubElement(root, "AuditSourceIdentification", _present(given))
    for kind in source.get("type", ()):
        _code(identification, "AuditSourceTypeCode", kind)


def _itself(event: Json) -> Json:
    """Say under which id the repository keeps the event, so that a second copy is known as one."""
    return {
        "what": {"reference": f"AuditEvent/{event.get('id', '')}"},
        "type": {"code": "2"},
        "role": {"code": SECURITY_RESOURCE},
    }


def _object(root: Element, entity: Json) -> None:
    type, role = entity.get("type", {}).get("code"), entity.get("role", {}).get("code")
    given = {
        "ParticipantObjectID": _named(entity.get("what", {})) or entity.get("name") or "unknown",
        "ParticipantObjectTypeCode": type if type in {"1", "2", "3", "4"} else "4",
        "ParticipantObjectTypeCodeRole": role,
    }
    found = SubElement(root, "ParticipantObjectIdentification", _present(given))
    code, system, text = _kind(type, entity)
    _code(found, "ParticipantObjectIDTypeCode", {"code": code, "system": system, "display": text})
    if (query := entity.get("query")) is not None:
        SubElement(found, "ParticipantObjectQuery").text = _clean(query)
    elif name := entity.get("name"):
        SubElement(found, "ParticipantObjectName").text = _clean(name)
    else:  # the schema wants one of the two
        SubElement(found, "ParticipantObjectName").text = given["ParticipantObjectID"]
    for detail in entity.get("detail", ()):
        value = detail.get("valueBase64Binary")
        if value is None:
            value = base64.b64encode(str(detail.get("valueString", "")).encode()).decode()
        given = {"type": detail.get("type", ""), "value": value}
        SubElement(found, "ParticipantObjectDetail", _present(given))


def _kind(type: str | None, entity: Json) -> tuple[str, str, str]:
    if "query" in entity:
        return SEARCH
    if type == "1":
        return PATIENT_NUMBER
    identifier = entity.get("what", {}).get("identifier", {})
    return STUDY if identifier.get("system") == "urn:dicom:uid" else ADDRESS


def _named(reference: Json) -> str:
    """Give what a Reference says: where it is, by which identifier it is known, or its name."""
    value = reference.get("identifier", {}).get("value")
    return _clean(reference.get("reference") or value or reference.get("display") or "")


def _codings(concepts: Iterable[Json]) -> list[Json]:
    return [coding for concept in concepts for coding in concept.get("coding", ())]


def _code(parent: Element, name: str, coding: Json) -> None:
    system = coding.get("system", "")
    given = {
        "csd-code": coding.get("code"),
        "codeSystemName": SYSTEMS.get(system, system),
        "originalText": coding.get("display") or coding.get("code"),
    }
    SubElement(parent, name, _present(given))


def _present(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {name: _clean(value) for name, value in attributes.items() if value is not None}


def _clean(text: Any) -> str:
    """Leave out what XML 1.0 has no way to write (Section 2.2, Char)."""
    return "".join(each for each in str(text) if each >= " " and each not in "\ufffe\uffff")
