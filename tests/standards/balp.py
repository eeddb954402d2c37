"""What IHE BALP 1.1 and DICOM want of an AuditEvent, and a served installation that makes some.

It is typed in here from the StructureDefinitions of BALP, from DICOM PS3.15 Section A.5.3 and
PS3.16 CID 400, without the server's own tables.
"""

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import psycopg
from pynetdicom import AE
from pynetdicom.association import Association

from demo import data
from fhir_server.access.token import Keys, mint
from fhir_server.audit import render
from fhir_server.audit.line import Line
from fhir_server.installation import read_back
from fhir_server.postgres.embedded import running
from resources import content, models, validate
from tests.dicom_bridge.build import a_uid, an_instance
from tests.flows.clinic import Clinic
from tests.flows.installation import Installation

Json = dict[str, Any]

DCM = "http://dicom.nema.org/resources/ontology/DCM"
REST = "http://terminology.hl7.org/CodeSystem/audit-event-type"
PROFILE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


class World:
    """An installation with the demonstration in it, and who asks it."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.base = installation.base
        self._clients: dict[str, httpx.Client] = {}
        postmaster = running(installation.data / "pg")
        assert postmaster is not None
        self.database_url = postmaster.url("isocentre")
        self.database = psycopg.connect(self.database_url, autocommit=True)
        self.http = httpx.Client(base_url=installation.address, timeout=30)
        self.patient = data.PATIENTS[0].id
        self.study = an_instance(patient_id="9990000107", issuer="NHS", study_uid=a_uid())

    def close(self) -> None:
        for client in (self.http, *self._clients.values()):
            client.close()
        self.database.close()

    def token(self, login: str = "operator", scope: str = "user/*.cruds", **more: Any) -> str:
        served = read_back(self.installation.data)
        assert served is not None
        person = data.person(login)
        return mint(
            Keys.load(self.installation.data), served.url, subject=f"PractitionerRole/{login}",
            client="demo-app", scope=scope, organization=person.place, role=person.role, **more,
        )  # fmt: skip

    def client(self, role: str, organization: str, *, scope: str, subject: str) -> httpx.Client:
        """The HTTP client of a person of the demonstration, as `Clinic` asks for it."""
        login = subject.removeprefix("PractitionerRole/")
        if login not in self._clients:
            headers = {
                "authorization": f"Bearer {self.token(login, scope)}",
                "content-type": "application/fhir+json",
            }
            self._clients[login] = httpx.Client(base_url=self.base, headers=headers, timeout=30)
        return self._clients[login]

    def ask(
        self,
        method: str,
        path: str,
        status: int,
        body: Any = None,
        login: str = "operator",
        **more: Any,
    ) -> httpx.Response:
        headers = {
            "authorization": f"Bearer {self.token(login)}",
            "content-type": "application/fhir+json",
            **more.pop("headers", {}),
        }
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        answer = self.http.request(method, path, content=sent, headers=headers, **more)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:500])
        return answer

    def last(self) -> int:
        rows = self.database.execute("select coalesce(max(n), 0) from audit").fetchall()
        return int(rows[0][0])

    def since(self, n: int) -> list[Json]:
        """The AuditEvents of what came after a row."""
        columns = ", ".join(Line._fields)
        sql = f"select {columns} from audit where n > {n} order by n"
        rows = self.database.execute(sql).fetchall()
        return [render.stored(Line._make(row)).json for row in rows]

    def associate(self, *contexts: str, calling: str = "CT1", **more: Any) -> Association:
        ae = AE(calling)
        ae.acse_timeout = ae.dimse_timeout = 20
        for each in contexts:
            ae.add_requested_context(each, EXPLICIT if each == CT else IMPLICIT)
        return ae.associate("127.0.0.1", self.installation.dicom, ae_title="ISOCENTRE", **more)


class Ward(Clinic):
    """The people of a served installation, at work with a patient of their own."""

    def __init__(self, world: World) -> None:
        self.server = world  # type: ignore[assignment]
        self.patient = ""
        self._database_url = world.database_url
        self.welcome()


class Case(NamedTuple):
    """What is done, and the event that it must leave.

    `of` is what stands as data: ``p`` the patient, ``d`` an object with version, ``q`` a query.
    """

    name: str
    do: Callable[[World], Any]
    type: str
    subtype: str | None
    action: str
    outcome: str = "0"
    profile: str | None = None
    of: str = ""


SEEN = ("type", "subtype", "action", "outcome")


def fits(event: Json, case: Case) -> bool:
    """Whether it is of the type, subtype, action and outcome."""
    system = REST if case.type == "rest" else DCM
    subtypes = [one["code"] for one in event.get("subtype", [])]
    return (
        (event["type"]["system"], event["type"]["code"]) == (system, case.type)
        and subtypes == ([case.subtype] if case.subtype else [])
        and (event["action"], event["outcome"]) == (case.action, case.outcome)
    )


def describe(event: Json) -> tuple[str | None, str]:
    """Its profile, and what it is about."""
    (profile,) = event["meta"].get("profile", [None])
    has = "".join(
        letter
        for letter, type, role in (("p", "1", "1"), ("d", "2", "4"), ("q", "2", "24"))
        if entities(event, type, role)
    )
    return profile and profile.removeprefix(PROFILE), has


def entities(event: Json, type: str, role: str) -> list[Json]:
    return [
        one
        for one in event["entity"]
        if one["type"].get("code") == type and one.get("role", {}).get("code") == role
    ]


def check(event: Json) -> None:
    """What BALP demands of all, and of the profile that is claimed."""
    asker_is_source = event["action"] in "CUDE"
    client, server = ("110153", "110152") if asker_is_source else ("110152", "110153")
    agents: dict[str, list[Json]] = {}
    for agent in event["agent"]:
        agents.setdefault(agent["type"]["coding"][0]["code"], []).append(agent)
    for code in (client, server):
        (machine,) = agents[code]
        assert machine["who"]
        assert machine["network"]["address"]
        assert machine["requestor"] is False
    (user,) = agents["IRCP"]
    assert user["requestor"] is True
    assert user["who"]
    assert "network" not in user
    is_known = {"reference", "identifier"} & user["who"].keys()
    if event["outcome"] == "0" and is_known:
        assert user["role"][0]["coding"][0]["code"]
        assert event["purposeOfEvent"][0]["coding"][0]["code"]
        assert user["purposeOfUse"] == event["purposeOfEvent"]
    assert event["source"]["observer"]
    (request,) = [one for one in event["entity"] if one["type"]["code"] == "XrequestId"]
    assert request["what"]["identifier"]["value"]
    name, _ = describe(event)
    if name is None:
        return
    assert event["outcome"] == "0"
    assert len(entities(event, "1", "1")) == (1 if name.startswith("Patient") else 0)
    if name.endswith("Query"):
        (query,) = entities(event, "2", "24")
        assert base64.b64decode(query["query"])
        assert not {"what", "detail", "lifecycle"} & query.keys()
        assert entities(event, "2", "4") == []
    else:
        (known,) = entities(event, "2", "4")
        assert "/_history/" in known["what"]["reference"]
        assert entities(event, "2", "24") == []


def fitting(world: "World", case: Case) -> list[Json]:
    """Do what a case says; the events of its kind, when all that it left are as they must be."""
    before = world.last()
    case.do(world)
    return found(world.since(before), case)


def found(events: list[Json], case: Case) -> list[Json]:
    """The events of the kind of a case among some, all of which must be as BALP wants them."""
    fit = [event for event in events if fits(event, case)]
    assert fit, [[one.get(name) for name in SEEN] for one in events]
    for event in events:
        assert validate.check(content.made(event)) == []
        models.model("AuditEvent").model_validate(event)
        check(event)
    kinds = [describe(event) for event in fit]
    assert (case.profile, case.of) in kinds or (case.profile is None and case.of == ""), kinds
    return fit


class Told(NamedTuple):
    """Who did what to whom, as an AuditEvent says it."""

    person: str
    role: str
    organization: str
    purpose: str
    patient: str
    object: str


def told(event: Json) -> Told:
    """Read it; what it does not say is empty."""
    (user,) = [agent for agent in event["agent"] if agent["requestor"]]
    places = [
        agent["who"]["reference"]
        for agent in event["agent"]
        if agent["type"]["coding"][0]["code"] == "PROV"
    ]
    role = user.get("role", [{"coding": [{"code": ""}]}])[0]["coding"][0]["code"]
    purposes = [
        coding["code"]
        for concept in event.get("purposeOfEvent", ())
        for coding in concept["coding"]
    ]
    patients = [one["what"]["reference"] for one in entities(event, "1", "1")]
    objects = [one["what"]["reference"] for one in entities(event, "2", "4")]
    return Told(
        user["who"].get("reference", user["who"].get("display", "")),
        role,
        "".join(places),
        " ".join(purposes),
        "".join(patients),
        "".join(objects),
    )
