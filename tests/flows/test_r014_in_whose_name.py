"""Nobody acts, refers, testifies or is known in the name of another organisation (R014.2)."""

import json
from typing import Any

import httpx
import pytest

from resources import codes
from tests.build import a_request, a_role
from tests.flows.clinic import Clinic

pytestmark = pytest.mark.requirement("R014.2")


def sent(clinic: Clinic, login: str, method: str, address: str, resource: Any) -> httpx.Response:
    return clinic.as_(login).request(method, address, content=json.dumps(resource))


def test_a_request_is_made_by_the_organisation_of_its_requester(clinic: Clinic) -> None:
    subject = {"reference": clinic.patient}
    lead = [{"reference": "Organization/northmoor"}]

    for requester, status in (
        ("PractitionerRole/reviewer", "active"),
        ("PractitionerRole/reviewer", "draft"),
        ("Organization/westvale", "active"),
    ):
        forged = a_request(
            None,
            subject=subject,
            performer=lead,
            requester={"reference": requester},
            status=status,
        )
        answer = sent(clinic, "gp", "POST", "ServiceRequest", forged)
        assert answer.status_code == 403, requester
        assert answer.json()["issue"][0]["expression"] == ["ServiceRequest.requester"]
    for requester in ("PractitionerRole/gp2", "Organization/harbour"):
        own = a_request(None, subject=subject, performer=lead, requester={"reference": requester})
        assert sent(clinic, "gp", "POST", "ServiceRequest", own).status_code == 201


def test_nobody_testifies_to_what_others_did(clinic: Clinic) -> None:
    (request,) = clinic.refer()

    def provenance(who: str) -> dict[str, object]:
        return {
            "resourceType": "Provenance",
            "target": [{"reference": f"ServiceRequest/{request['id']}"}],
            "recorded": "2026-11-24T03:00:00Z",
            "agent": [{"who": {"reference": who}}],
        }

    forged = sent(clinic, "operator", "POST", "Provenance", provenance("PractitionerRole/reporter"))
    own = sent(clinic, "operator", "POST", "Provenance", provenance("PractitionerRole/operator"))

    assert forged.status_code == 422
    assert forged.json()["issue"][0]["expression"] == ["Provenance.agent"]
    assert own.status_code == 201


def test_an_administrator_writes_the_directory_of_their_own_organisation(clinic: Clinic) -> None:
    taken = {**clinic.get("admin", "PractitionerRole/gp")}
    taken["organization"] = {"reference": "Organization/northmoor"}

    assert clinic.put("admin", taken).status_code == 403
    assert clinic.put("admin", {**clinic.get("admin", "Organization/westvale")}).status_code == 403
    elsewhere = a_role("new-there", organization="westvale", practitioner="reviewer")
    assert sent(clinic, "admin", "PUT", "PractitionerRole/new-there", elsewhere).status_code == 403
    here = a_role("new-here", organization="northmoor", practitioner="reporter")
    assert sent(clinic, "admin", "PUT", "PractitionerRole/new-here", here).status_code == 201


def test_a_partner_does_not_write_the_agreement_of_its_lead(clinic: Clinic) -> None:
    """Or it would hand itself the work, and the terms."""
    partner = clinic.server.client("administrator", "westvale", scope="user/*.cruds")
    lead = clinic.server.client("administrator", "northmoor", scope="user/*.cruds")
    agreed = {
        "resourceType": "OrganizationAffiliation",
        "active": True,
        "organization": {"reference": "Organization/northmoor"},
        "participatingOrganization": {"reference": "Organization/westvale"},
    }

    refused = partner.post("OrganizationAffiliation", content=json.dumps(agreed))
    made = lead.post("OrganizationAffiliation", content=json.dumps(agreed))
    taken = {**made.json(), "active": False}
    changed = partner.put(
        f"OrganizationAffiliation/{taken['id']}",
        content=json.dumps(taken),
        headers={"If-Match": 'W/"1"'},
    )

    assert (refused.status_code, made.status_code, changed.status_code) == (403, 201, 403)


def test_an_organisation_does_not_take_the_code_of_another(clinic: Clinic) -> None:
    """Accession numbers and local patient numbers are believed by the code of their issuer."""
    own = clinic.get("admin", "Organization/northmoor")
    code = {"system": codes.ODS_ORGANIZATION, "value": "ZZ902"}

    assert clinic.put("admin", {**own, "identifier": [code]}).status_code == 403
    assert clinic.put("admin", {**own, "identifier": [*own["identifier"], code]}).status_code == 403
    renamed = clinic.put("admin", {**own, "name": "Northmoor"})
    assert renamed.status_code == 200
    assert clinic.put("admin", {**renamed.json(), "name": own["name"]}).status_code == 200
