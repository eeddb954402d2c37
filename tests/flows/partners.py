"""Partners: organisations that work for the lead by agreement, each asking as itself."""

import asyncio
import json
import uuid
from typing import Any

import httpx

from fhir_server.context import now
from fhir_server.expiry import Expiry
from fhir_server.store.store import Store
from resources import codes
from resources.agreement import AFFILIATION_CODE
from tests.build import a_report, a_role, an_appointment, an_organization
from tests.flows.clinic import Clinic

Json = dict[str, Any]
DAY = 86_400_000_000

DELEGATED = "delegated-justification"
EARLY = "release-before-report"
DIRECT = "direct-release-to-reviewer"
BY_ITSELF = "automatic-acceptance"

ACQUISITION = codes.KIND_OUTSOURCED_ACQUISITION
REPORTING = codes.KIND_OUTSOURCED_REPORTING
BOTH = codes.KIND_OUTSOURCED_BOTH


class Partner:
    """An organisation that the lead has an agreement with, and what its people do.

    Parameters
    ----------
    parts
        Affiliation codes: ``acquires-for``, ``reports-for``; none: a stranger.
    """

    def __init__(self, clinic: Clinic, *parts: str, terms: tuple[str, ...] = ()) -> None:
        self.clinic = clinic
        self.ods = f"ZZ{uuid.uuid4().hex[:6].upper()}"
        made = clinic.post("admin", an_organization(None, self.ods))
        self.id = str(made["id"])
        self.reference = f"Organization/{self.id}"
        role = self.post(a_role(None, self.id, "clearscan-reporter"), "administrator")
        assert role.status_code == 201, role.text
        self.reporter = f"PractitionerRole/{role.json()['id']}"
        self.agreement = clinic.post("admin", self._agreement(parts, terms)) if parts else {}

    def _agreement(self, parts: tuple[str, ...], terms: tuple[str, ...]) -> Json:
        said = [{"url": f"{codes.OURS}/{term}", "valueBoolean": True} for term in terms]
        return {
            "resourceType": "OrganizationAffiliation",
            "active": True,
            **({"extension": said} if said else {}),
            "organization": {"reference": "Organization/northmoor"},
            "participatingOrganization": {"reference": self.reference},
            "code": [{"coding": [{"system": AFFILIATION_CODE, "code": part}]} for part in parts],
        }

    def as_(self, role: str = "application") -> httpx.Client:
        """The HTTP client of somebody of the organisation."""
        subject = self.reporter if role == "reporter" else f"PractitionerRole/{role}-{self.id}"
        return self.clinic.server.client(role, self.id, scope="user/*.cruds", subject=subject)

    def read(self, reference: str, role: str = "application") -> int:
        """The status with which a read is answered."""
        return self.as_(role).get(reference).status_code

    def search(self, path: str, role: str = "application") -> list[Json]:
        answer = self.as_(role).get(path)
        assert answer.status_code == 200, answer.text
        entries = answer.json().get("entry", [])
        return [one["resource"] for one in entries if one["search"]["mode"] == "match"]

    def post(self, resource: Json, role: str = "application") -> httpx.Response:
        return self.as_(role).post(resource["resourceType"], content=json.dumps(resource))

    def put(self, resource: Json, role: str = "application", **members: Any) -> httpx.Response:
        changed = {**resource, **members}
        return self.as_(role).put(
            f"{changed['resourceType']}/{changed['id']}",
            content=json.dumps(changed),
            headers={"If-Match": f'W/"{resource["meta"]["versionId"]}"'},
        )

    def worklist(self, step: str) -> list[Json]:
        """Open steps of a kind that the organisation is asked to do."""
        return self.search(
            f"Task?owner={self.reference}&code={codes.IMAGING_STEP}|{step}"
            "&status=requested,ready,received,accepted,in-progress,on-hold"
        )

    def book(self, onward: Json) -> None:
        """Give the patient a slot."""
        participant = [{"actor": onward["subject"], "status": "accepted"}]
        answer = self.post(an_appointment(None, onward["id"], participant=participant))
        assert answer.status_code == 201, answer.text

    def authorise(self) -> None:
        (task,) = self.worklist("justify")
        answer = self.put(
            task, "practitioner", status="completed", businessStatus=codes.AUTHORISED.concept
        )
        assert answer.status_code == 200, answer.text

    def decline(self, step: str, why: str) -> None:
        (task,) = self.worklist(step)
        answer = self.put(task, status="rejected", statusReason={"text": why})
        assert answer.status_code == 200, answer.text


def an_onward_request(request: Json, partner: Partner, kind: codes.Coding, **members: Any) -> Json:
    """What the lead asks of a partner for a request."""
    made = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "filler-order",
        "basedOn": [{"reference": f"ServiceRequest/{request['id']}"}],
        "category": [kind.concept],
        "requester": {"reference": "Organization/northmoor"},
        "performer": [{"reference": partner.reference}],
        **{name: request[name] for name in ("subject", "requisition", "code", "priority")},
        **members,
    }
    return {name: value for name, value in made.items() if value is not None}


def hand_over(
    clinic: Clinic, request: Json, partner: Partner, kind: codes.Coding, **members: Any
) -> Json:
    """The lead's co-ordinator hands work over; the onward request as it stands then."""
    made = clinic.post("coordinator", an_onward_request(request, partner, kind, **members))
    return clinic.get("coordinator", f"ServiceRequest/{made['id']}")


def asked(clinic: Clinic) -> Json:
    """A request that the lead's practitioner has authorised."""
    (request,) = clinic.refer()
    clinic.authorise(request, "Low dose, please")
    return clinic.get("coordinator", f"ServiceRequest/{request['id']}")


def acquired(clinic: Clinic, partner: Partner, request: Json, onward: Json) -> Json:
    """The partner justifies where it must, books and acquires; the study."""
    if partner.worklist("justify"):
        partner.authorise()
    partner.book(onward)
    return clinic.images_arrive(request, by=partner.reference)


def reported(partner: Partner, onward: Json, study: Json) -> Json:
    """The report that the partner's reporter writes."""
    report = a_report(
        None,
        request=onward["id"],
        study=study["id"],
        subject=onward["subject"],
        performer=[{"reference": partner.reference}],
        resultsInterpreter=[{"reference": partner.reporter}],
    )
    answer = partner.post(report, "reporter")
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def refused(clinic: Clinic, resource: Json, login: str = "coordinator") -> tuple[int, str]:
    """The status and the words with which a request is refused."""
    answer = clinic.as_(login).post(resource["resourceType"], content=json.dumps(resource))
    return answer.status_code, str(answer.json()["issue"][0]["details"]["text"])


def monitor(clinic: Clinic, onward: Json) -> Json:
    """The step by which the lead sees to an onward request."""
    return clinic.task(onward, "monitor")


def expire(clinic: Clinic, days: int) -> int:
    """Do what the worker does, as if it were so many days later."""

    async def work(store: Store) -> int:
        return await Expiry(store, clinic.server.base).work(now() + days * DAY)

    found: int = asyncio.run(clinic._with_store(work))
    return found


def accept(clinic: Clinic, onward: Json) -> Json:
    return clinic.change(
        "coordinator",
        monitor(clinic, onward),
        status="completed",
        businessStatus=codes.ACCEPTED.concept,
    )


def send_back(clinic: Clinic, onward: Json, why: str) -> Json:
    return clinic.change(
        "coordinator",
        monitor(clinic, onward),
        status="in-progress",
        businessStatus=codes.RETURNED.concept,
        statusReason={"text": why},
    )
