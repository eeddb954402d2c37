"""A world with one patient whom most know nothing of, behind every way into the server.

All that is recorded of that patient bears one rare word, so that a leak is a word in an answer.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from pydicom.dataset import Dataset

from demo.load import write_resources
from dicom_bridge import ingest
from dicom_bridge.dimse import peers, scp
from dicom_bridge.dimse.peers import Peer
from fhir_server.access.emergency import Emergency
from fhir_server.access.principal import Principal
from fhir_server.access.token import Keys, mint
from fhir_server.context import RequestContext
from fhir_server.core import Core, opened
from fhir_server.main import build_http
from fhir_server.settings import Settings
from resources import codes, content
from resources.agreement import AFFILIATION_CODE, SHARES
from tests import build
from tests.dicom_bridge.build import an_instance, part10

Json = dict[str, Any]

WORD = "Zqxcanary"
"""Stands in every resource about the hidden patient, and in their images."""
NHS = build.nhs_number(4242)
STUDY = "2.25.77001"
SERIES = f"{STUDY}.1"
INSTANCE = f"{STUDY}.1.1"
WORKITEM = f"{STUDY}.9"
FOREVER = 2**62

PARTY = "northmoor"
UNRELATED = "westvale"
ENDED = "clearscan"
RELATED = "related"
"""Has to do with the patient, and neither wrote nor is named in anything of them."""
KEPT_OUT = "kept-out"
"""Has to do with the patient, who dissents from what it would see."""
PARTNER = "partner"
"""Has nothing to do with the patient; the party shares with it what it creates."""
LAPSED = "lapsed"
"""With it the party shared once, will share some day, and works together; no more."""


def about_the_patient() -> list[Json]:
    """One resource of each kind that the record around a request has."""
    subject = {"reference": "Patient/hidden"}
    request = {"reference": "ServiceRequest/hidden"}
    lead = {"reference": f"Organization/{PARTY}"}
    note = [{"text": WORD}]
    accession = {
        "type": {"coding": [codes.ACCESSION_NUMBER_TYPE.json]},
        "system": f"{codes.ACCESSION}/ZZ901",
        "value": "HIDDEN1",
    }
    step = {"basedOn": [request], "focus": request, "for": subject, "note": note,
            "requester": {"reference": "PractitionerRole/gp"}, "owner": lead}  # fmt: skip
    text = {"text": WORD}
    return [
        build.a_patient(
            "hidden",
            identifier=[{"system": codes.NHS_NUMBER, "value": NHS}],
            name=[{"family": WORD}],
            managingOrganization=lead,
            generalPractitioner=[{"reference": "Organization/harbour"}],
        ),
        build.a_request("hidden", subject=subject, note=note, performer=[lead],
                        identifier=[accession]),
        build.a_step("justify", "hidden-justify", status="completed",
                     businessStatus=codes.AUTHORISED.concept, **step),
        build.a_step("acquire", "hidden", status="ready", identifier=[
            {"system": codes.DICOM_UID, "value": f"urn:oid:{WORKITEM}"}], **step),
        build.an_appointment("hidden", "hidden", comment=WORD, participant=[
            {"actor": subject, "status": "accepted"}]),
        build.a_study("hidden", images=1, uid="1.2.77", request="hidden", subject=subject,
                      description=WORD),
        {"resourceType": "Observation", "id": "hidden", "status": "final", "code": text,
         "subject": subject, "performer": [lead]},
        {"resourceType": "Condition", "id": "hidden", "code": text, "subject": subject},
        {"resourceType": "AllergyIntolerance", "id": "hidden", "code": text, "patient": subject},
        {"resourceType": "Communication", "id": "hidden", "status": "completed",
         "subject": subject, "payload": [{"contentString": WORD}]},
        {"resourceType": "DocumentReference", "id": "hidden", "status": "current",
         "subject": subject, "description": WORD, "content": [{"attachment": {"title": WORD}}]},
        {"resourceType": "List", "id": "hidden", "status": "current", "mode": "working",
         "subject": subject, "title": WORD},
        {"resourceType": "Binary", "id": "hidden", "contentType": "text/plain",
         "data": "WnF4Y2FuYXJ5"},
        {"resourceType": "DiagnosticReport", "id": "hidden", "status": "preliminary", "code": text,
         "subject": subject, "performer": [lead]},
        {"resourceType": "Device", "id": "hidden", "patient": subject, "note": note},
        {"resourceType": "Provenance", "id": "hidden", "target": [request],
         "recorded": "2026-11-24T03:00:00Z", "reason": [text],
         "agent": [{"who": {"display": WORD}}]},
        *_further(subject, text),
    ]  # fmt: skip


def _further(subject: Json, text: Json) -> list[Json]:
    """One of each other kind that is written around a request, as short as FHIR lets it be."""
    coded = {"coding": [{"code": "x", "display": WORD}]}
    kinds: dict[str, Json] = {
        "AdverseEvent": {"actuality": "actual", "subject": subject, "event": text},
        "CarePlan": {"status": "active", "intent": "plan", "subject": subject, "title": WORD},
        "CareTeam": {"status": "active", "subject": subject, "name": WORD},
        "CommunicationRequest": {"status": "active", "subject": subject,
                                 "payload": [{"contentString": WORD}]},
        "Composition": {"status": "final", "type": text, "subject": subject, "title": WORD,
                        "date": "2026-11-24", "author": [{"display": WORD}]},
        "Consent": {"status": "rejected", "scope": text, "category": [text], "patient": subject,
                    "policyRule": text},
        "DetectedIssue": {"status": "final", "patient": subject, "detail": WORD},
        "Encounter": {"status": "planned", "class": {"code": "AMB", "display": WORD},
                      "subject": subject},
        "EpisodeOfCare": {"status": "active", "patient": subject, "type": [text]},
        "Flag": {"status": "active", "code": text, "subject": subject},
        "MeasureReport": {"status": "complete", "type": "individual", "measure": "urn:x",
                          "subject": subject, "period": {"start": "2026"},
                          "group": [{"code": coded}]},
        "Media": {"status": "completed", "subject": subject,
                  "content": {"title": WORD, "url": "urn:x"}},
        "MedicationAdministration": {"status": "completed", "subject": subject,
                                     "medicationCodeableConcept": text,
                                     "effectiveDateTime": "2026"},
        "MedicationStatement": {"status": "active", "subject": subject,
                                "medicationCodeableConcept": text},
        "Procedure": {"status": "completed", "subject": subject, "code": text},
        "QuestionnaireResponse": {"status": "completed", "subject": subject,
                                  "item": [{"linkId": "1", "text": WORD}]},
        "Specimen": {"subject": subject, "type": text},
    }  # fmt: skip
    return [{"resourceType": type, "id": "hidden", **said} for type, said in kinds.items()]


def a_dissent() -> Json:
    """The patient keeps their record from one organisation."""
    kept_out = {"reference": f"Organization/{KEPT_OUT}"}
    scope = {"system": codes.CONSENT_SCOPE, "code": "patient-privacy"}
    return {
        "resourceType": "Consent", "id": "dissent", "status": "active",
        "scope": {"coding": [scope]}, "category": [{"text": "privacy"}],
        "patient": {"reference": "Patient/hidden"}, "policyRule": {"text": "house"},
        "provision": {"type": "deny", "actor": [{"role": {"text": "x"}, "reference": kept_out}]},
    }  # fmt: skip


def an_agreement(
    organization: str, id: str, creator: str = PARTY, code: str = SHARES, **more: Any
) -> Json:
    """One organisation shares what it creates with another."""
    return {
        "resourceType": "OrganizationAffiliation", "id": id, "active": True,
        "organization": {"reference": f"Organization/{creator}"},
        "participatingOrganization": {"reference": f"Organization/{organization}"},
        "code": [{"coding": [{"system": AFFILIATION_CODE, "code": code}]}], **more,
    }  # fmt: skip


AGREEMENTS = (
    an_agreement(PARTNER, "shared"),
    an_agreement(LAPSED, "ended", period={"start": "2020", "end": "2021-03-31"}),
    an_agreement(LAPSED, "to-come", period={"start": "2300-01-01"}),
    an_agreement(LAPSED, "inactive", active=False),
    an_agreement(LAPSED, "work", code="reports-for"),
    an_agreement(LAPSED, "passed-on", creator=PARTNER),
    an_agreement(PARTY, "the-other-way", creator=LAPSED),
)

TYPES = sorted({one["resourceType"] for one in about_the_patient()})


@dataclass
class World:
    """Where the server is, and how to be somebody there."""

    address: str
    dicom: int
    keys: Keys
    application: FastAPI
    folder: Path
    database_url: str
    clients: list[httpx.Client] = field(default_factory=list)

    def client(
        self,
        organization: str,
        role: str,
        scope: str,
        patient: str | None = None,
        emergency: Emergency | None = None,
    ) -> httpx.Client:
        token = mint(
            self.keys, self.address, subject=f"PractitionerRole/{role}", client="test", scope=scope,
            organization=organization, role=role, patient=patient, emergency=emergency,
            lifetime=3600,
        )  # fmt: skip
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
        return self._client(headers)

    def export(self) -> int:
        """Do the exports that were ordered, as the worker does."""

        async def once() -> int:
            settings = Settings(data_dir=self.folder, http=self.address.removeprefix("http://"))
            async with opened(settings, self.database_url) as core:
                return await core.exports.work()

        return asyncio.run(once())

    def stranger(self) -> httpx.Client:
        return self._client({"Content-Type": "application/fhir+json"})

    def _client(self, headers: dict[str, str]) -> httpx.Client:
        self.clients.append(httpx.Client(base_url=self.address, headers=headers, timeout=60))
        return self.clients[-1]


def an_image(**more: Any) -> Dataset:
    """An image of the hidden patient, sent for their request."""
    return an_instance(**{
        "study_uid": STUDY, "series_uid": SERIES, "sop_uid": INSTANCE, "patient_id": NHS,
        "patient_name": WORD, "birth_date": "19700101", "accession": "HIDDEN1",
        "description": WORD, **more,
    })  # fmt: skip


@contextmanager
def running(database_url: str, folder: Path, keys: Keys) -> Iterator[World]:
    """Serve such a world, HTTP and DIMSE, until the block is left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = Settings(
            data_dir=folder,
            http=f"127.0.0.1:{listener.getsockname()[1]}",
            database_connections=4,
            rate_requests=0,
            rate_lookups=0,
            rate_tokens=0,
        )
        asyncio.run(_fill(settings, database_url))
        application, _ = build_http(Core.of(settings, database_url), keys)
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="on"))
        dicom = _Dicom(settings, database_url)
        threads = [
            threading.Thread(target=asyncio.run, args=(server.serve(sockets=[listener]),)),
            threading.Thread(target=asyncio.run, args=(dicom.serve(),)),
        ]
        for thread in threads:
            thread.start()
        assert dicom.open.wait(30)
        try:
            httpx.get(f"{settings.url}/fhir/metadata", timeout=30).raise_for_status()
            world = World(settings.url, dicom.port, keys, application, folder, database_url)
            yield world
            for client in world.clients:
                client.close()
        finally:
            server.should_exit = True
            dicom.stop()
            for thread in threads:
                thread.join(20)


class _Dicom:
    """The DICOM port, on a loop of its own."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self.open, self.port = threading.Event(), 0
        self._settings, self._url = settings, database_url

    async def serve(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with opened(self._settings, self._url) as core:
                await scp.run_dicom(core.bridge, "127.0.0.1", 0, ready=self._ready)
        except asyncio.CancelledError:
            return

    def stop(self) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)

    def _ready(self, port: int) -> None:
        self.port = port
        self.open.set()


async def _fill(settings: Settings, database_url: str) -> None:
    system = RequestContext(Principal.system("test"), "update")
    async with opened(settings, database_url) as core:
        await write_resources(core.store)
        async with core.store.begin(system) as work:
            seen = {"reference": f"Organization/{UNRELATED}"}
            await work.create(
                content.made(build.a_patient("seen", managingOrganization=seen)), "seen"
            )
            for one in about_the_patient():
                await work.create(content.made(one), one["id"])
            others = (
                (KEPT_OUT, "ZZ999"), (RELATED, "ZZ998"), (PARTNER, "ZZ997"), (LAPSED, "ZZ996"),
            )  # fmt: skip
            for id, ods in others:
                await work.create(content.made(build.an_organization(id, ods)), id)
            await work.create(content.made(a_dissent()), "dissent")
            for one in AGREEMENTS:
                await work.create(content.made(one), one["id"])
        for ae, organization in (
            ("PARTY", PARTY), ("NOBODY", UNRELATED), ("ENDED", ENDED), ("KEPTOUT", KEPT_OUT),
            ("RELATED", RELATED), ("PARTNER", PARTNER), ("LAPSED", LAPSED),
        ):  # fmt: skip
            await peers.add(core.database, Peer(ae, "127.0.0.1", 11113, organization))
        spool = core.bridge.blobs.spool()
        spool.write(part10(an_image()))
        image = await asyncio.to_thread(ingest.keep, core.bridge.blobs, spool)
        sender = Peer("PARTY", "127.0.0.1", 11113, PARTY).principal
        await ingest.receive(core.bridge, image, RequestContext(sender, "C-STORE"))
        await ingest.settle(core.bridge, STUDY)
        await core.database.run(
            "insert into relation(organization, patient, type, id, until)"
            " values ($1, 'hidden', 'Task', 'long-ago', 1), ($2, 'hidden', 'Task', 'now', $3),"
            " ($4, 'hidden', 'Task', 'now', $3)",
            (ENDED, KEPT_OUT, FOREVER, RELATED),
        )
        await core.database.run(
            "update current set organizations = array[$1] || organizations[2:]"
            " where id = 'hidden' and type <> 'Binary'",
            (PARTY,),
        )
        await core.database.run("update maker set organization = $1 where id = 'hidden'", (PARTY,))
