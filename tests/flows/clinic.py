"""A clinic: the people of the demonstration, each asking a real server over HTTP as themselves."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from demo import data
from demo.load import write_resources
from fhir_server.access.principal import Principal
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search.query import parse
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import codes, content, imaging_study
from resources.errors import Stale
from tests.build import a_patient, a_report, a_request, a_study, an_appointment
from tests.server import Server

Json = dict[str, Any]

WHY: Json = {"url": codes.EVENT_STATUS_REASON, "valueCodeableConcept": {"text": "Wrong side."}}


class Clinic:
    """What people do, as requests; every answer is checked to be a success unless asked for."""

    def __init__(self, server: Server, database_url: str) -> None:
        self.server = server
        self.patient = ""
        self._database_url = database_url
        asyncio.run(self._with_store(write_resources))
        for person in data.PEOPLE:
            self.as_(person.login)

    def welcome(self) -> None:
        """Register somebody new: whom the test is about."""
        made = self.post(
            "gp",
            a_patient(
                id=None,
                generalPractitioner=[{"reference": "Organization/harbour"}],
                managingOrganization={"reference": "Organization/northmoor"},
            ),
        )
        self.patient = f"Patient/{made['id']}"

    def as_(self, login: str) -> httpx.Client:
        """The HTTP client of a person."""
        person = data.person(login)
        return self.server.client(
            person.role, person.place, scope="user/*.cruds", subject=f"PractitionerRole/{login}"
        )

    def get(self, login: str, path: str) -> Json:
        answer = self.as_(login).get(path)
        answer.raise_for_status()
        found: Json = answer.json()
        return found

    def search(self, login: str, path: str) -> list[Json]:
        """The resources of a page of matches, without what they include."""
        entries = self.get(login, path).get("entry", [])
        return [one["resource"] for one in entries if one["search"]["mode"] == "match"]

    def post(self, login: str, resource: Json) -> Json:
        answer = self.as_(login).post(resource["resourceType"], content=json.dumps(resource))
        assert answer.status_code == 201, answer.text
        made: Json = answer.json()
        return made

    def put(self, login: str, resource: Json) -> httpx.Response:
        """Update over the version that the resource says it is."""
        return self.as_(login).put(
            f"{resource['resourceType']}/{resource['id']}",
            content=json.dumps(resource),
            headers={"If-Match": f'W/"{resource["meta"]["versionId"]}"'},
        )

    def change(self, login: str, resource: Json, **members: Any) -> Json:
        """Update it; a report that is corrected says why, if the test does not."""
        if members.get("status") == "corrected":
            members = {"extension": [*resource.get("extension", ()), WHY], **members}
        answer = self.put(login, {**resource, **members})
        assert answer.status_code == 200, answer.text
        changed: Json = answer.json()
        return changed

    # --- the steps of the pathway ---------------------------------------------------------------

    def refer(self, *procedures: Json, isr: str = "", login: str = "gp") -> list[Json]:
        """POST one imaging service request; its requested procedures as they were stored."""
        given = procedures or ({},)
        isr = isr or f"ISR-{uuid.uuid4()}"
        requests = [
            a_request(
                id=None,
                **{
                    "subject": {"reference": self.patient},
                    "requester": {"reference": f"PractitionerRole/{login}"},
                    "performer": [{"reference": "Organization/northmoor"}],
                    "requisition": {"system": codes.ISR, "value": isr},
                    **procedure,
                },
            )
            for procedure in given
        ]
        bundle = {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {"resource": one, "request": {"method": "POST", "url": "ServiceRequest"}}
                for one in requests
            ],
        }
        answer = self.as_(login).post("", content=json.dumps(bundle))
        assert answer.status_code == 200, answer.text
        locations = [one["response"]["location"] for one in answer.json()["entry"]]
        return [self.get(login, "/".join(one.split("/")[-4:-2])) for one in locations]

    def task(self, request: Json, step: str, login: str = "coordinator") -> Json:
        """The one Task of a step of a request."""
        found = self.tasks(request, step, login)
        assert len(found) == 1, [one["status"] for one in found]
        return found[0]

    def tasks(self, request: Json, step: str, login: str = "coordinator") -> list[Json]:
        return self.search(
            login, f"Task?based-on=ServiceRequest/{request['id']}&code={codes.IMAGING_STEP}|{step}"
        )

    def authorise(self, request: Json, note: str = "Agreed, low dose") -> Json:
        task = self.task(request, "justify", "practitioner")
        return self.change(
            "practitioner",
            task,
            status="completed",
            businessStatus=codes.AUTHORISED.concept,
            note=[{"text": note}],
        )

    def reject(self, request: Json, reason: str) -> Json:
        task = self.task(request, "justify", "practitioner")
        return self.change("practitioner", task, status="rejected", statusReason={"text": reason})

    def book(self, request: Json, **members: Any) -> Json:
        actor = {"reference": "Location/northmoor-ct"}
        slot = an_appointment(
            id=None,
            request=request["id"],
            participant=[{"actor": actor, "status": "accepted"}],
            **members,
        )
        return self.post("coordinator", slot)

    def images_arrive(
        self,
        request: Json,
        images: int = 3,
        uid: str = "",
        by: str = "Organization/northmoor",
        **members: Any,
    ) -> Json:
        """What settling a burst of instances does: fold them into the study of the request."""
        uid = uid or f"2.25.{uuid.uuid4().int}"
        based_on = f"ServiceRequest/{request['id']}"
        arrived = a_study(id=None, images=images, uid=uid, **members)
        arrived["subject"] = request["subject"]
        arrived["series"][0]["performer"] = [{"actor": {"reference": by}}]
        arrived["basedOn"] = [{"reference": f"ServiceRequest/{request['id']}"}]

        async def settle(store: Store) -> Json:
            context = RequestContext(Principal.system("settle"), "update")
            async with store.begin(context) as work:
                query = parse("ImagingStudy", [("basedon", based_on)], strict=True)
                found = await work.search(query)
                if found:
                    known = await work.read("ImagingStudy", found[0].id)
                    study = content.made(imaging_study.merged(known.json, arrived))
                    stored = await work.update("ImagingStudy", known.id, study, known.version)
                else:
                    stored = await work.create(content.made(imaging_study.merged(None, arrived)))
            return (await store.read(context, "ImagingStudy", stored.id)).json

        async def settle_until_done(store: Store) -> Json:
            while True:
                try:
                    return await settle(store)
                except Stale:
                    continue

        study: Json = asyncio.run(self._with_store(settle_until_done))
        return study

    def review(self, study: Json, login: str = "gp2", **members: Any) -> Json:
        """Ask for a formal review of a study, at the lead provider unless it says where."""
        return self.refer(
            {
                "category": [codes.KIND_REVIEW_FORMAL.concept],
                "requester": {"reference": f"PractitionerRole/{login}"},
                "supportingInfo": [{"reference": f"ImagingStudy/{study['id']}"}],
                **members,
            },
            login=login,
        )[0]

    def report(self, request: Json, study: Json, **members: Any) -> Json:
        report = a_report(
            id=None,
            request=request["id"],
            study=study["id"],
            **{
                "subject": request["subject"],
                "performer": None,
                "resultsInterpreter": None,
                **members,
            },
        )
        return self.post("reporter", report)

    def acknowledge(self, request: Json, login: str = "gp") -> Json:
        (task,) = [
            one for one in self.tasks(request, "acknowledge", login) if one["status"] == "requested"
        ]
        return self.change(
            login, task, status="completed", businessStatus=codes.ACKNOWLEDGED.concept
        )

    def reported(self) -> tuple[Json, Json, Json]:
        """A request that has come as far as its report: the request, the study, the report."""
        (request,) = self.refer()
        self.authorise(request)
        self.book(request)
        study = self.images_arrive(request)
        return request, study, self.report(request, study)

    async def _with_store(self, work: Callable[[Store], Awaitable[Any]]) -> Any:
        database = Database(self._database_url, size=2)
        await database.open()
        try:
            hooks = Workflow(self.server.base).hooks()
            return await work(Store(database, Ledger(database), hooks, self.server.base))
        finally:
            await database.close()
