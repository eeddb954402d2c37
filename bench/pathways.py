"""What a step of a pathway costs: requests taken from referral to acknowledgement (W1).

Each actor takes one request after the other through all of it: refer, justify, book, images,
report, acknowledge. Every write completes or makes a step, with its audit, Provenance and change
log, in its transaction. The images are an ImagingStudy that becomes available; what settling
objects costs is measured by the DICOM works.
"""

import asyncio
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from bench.client import Client, Connection, percentile
from bench.processes import Roots, cpu_seconds
from resources import codes

REQUESTS: Final = 1000
ACTORS: Final = 16
PATIENTS: Final = 16
ALONE: Final = 50
"""Requests of the one actor whose times are told."""

STEP_MS: Final = 10
"""Bar: a step (complete one, create the next), 95th percentile, one actor."""

PER_SECOND: Final = 50
"""Bar: requests through all of it, with 16 actors."""

LEAD: Final = "Organization/northmoor"

Json = dict[str, Any]
Took = Callable[[str, float], None]


class Actor:
    """One connection on which requests are taken through the pathway."""

    def __init__(self, client: Client, line: Connection, patient: str, took: Took) -> None:
        self._client = client
        self._line = line
        self._patient = patient
        self._took = took

    async def walk(self) -> None:
        """Take one request from referral to acknowledgement."""
        request = await self._write("refer", "POST", self._request())
        name = f"ServiceRequest/{request['id']}"
        task = await self._task(name, codes.JUSTIFY.token)
        decided = {"status": "completed", "businessStatus": codes.AUTHORISED.concept}
        await self._write("justify", "PUT", {**task, **decided})
        await self._write("book", "POST", self._slot(name))
        (study,) = await self._found(f"/ImagingStudy?basedon={name}")
        await self._write("images", "PUT", {**study, **self._images()})
        await self._write("report", "POST", self._report(name, f"ImagingStudy/{study['id']}"))
        task = await self._task(name, codes.ACKNOWLEDGE.token)
        done = {"status": "completed", "businessStatus": codes.ACKNOWLEDGED.concept}
        await self._write("acknowledge", "PUT", {**task, **done})
        ended = await self._found(f"/ServiceRequest?_id={request['id']}&status=completed")
        if len(ended) != 1:
            raise SystemExit(f"{name} is not completed")

    async def _write(self, step: str, method: str, body: Json) -> Json:
        path, began = f"/{body['resourceType']}", time.perf_counter()
        if method == "PUT":
            path += f"/{body['id']}"
        request = self._client.request(method, path, body)
        if method == "PUT":
            version = f'if-match: W/"{body["meta"]["versionId"]}"\r\n'.encode()
            request = request.replace(b"content-type:", version + b"content-type:", 1)
        status, answer = await self._line.ask(request)
        if status not in (200, 201):
            raise SystemExit(f"{step}: http {status} {answer[:400]!r}")
        self._took(step, time.perf_counter() - began)
        written: Json = json.loads(answer)
        return written

    async def _task(self, request: str, step: str) -> Json:
        found = await self._found(f"/Task?based-on={request}&code={step}")
        (task,) = [one for one in found if one["status"] == "requested"]
        return task

    async def _found(self, path: str) -> list[Json]:
        status, answer = await self._line.ask(self._client.request("GET", path))
        if status != 200:
            raise SystemExit(f"{path}: http {status} {answer[:400]!r}")
        return [one["resource"] for one in json.loads(answer).get("entry", ())]

    def _request(self) -> Json:
        return {
            "resourceType": "ServiceRequest",
            "extension": [{"url": codes.OVERRIDE_REASON, "valueString": "bench"}],
            "requisition": {"system": codes.ISR, "value": f"bench-{uuid.uuid4()}"},
            "status": "active",
            "intent": "original-order",
            "category": [codes.KIND_PRIMARY.concept],
            "priority": "urgent",
            "code": {"text": "CT of head"},
            "subject": {"reference": self._patient},
            "requester": {"reference": LEAD},
            "performer": [{"reference": LEAD}],
            "reasonCode": [{"text": "Headache for three weeks"}],
        }

    def _slot(self, request: str) -> Json:
        return {
            "resourceType": "Appointment",
            "status": "booked",
            "basedOn": [{"reference": request}],
            "start": "2027-01-04T09:00:00Z",
            "end": "2027-01-04T09:20:00Z",
            "participant": [{"actor": {"reference": self._patient}, "status": "accepted"}],
        }

    def _images(self) -> Json:
        uid = f"2.25.{uuid.uuid4().int}"
        series = {
            "uid": uid,
            "modality": {"system": codes.DCM, "code": "CT"},
            "numberOfInstances": 1,
            "instance": [
                {
                    "uid": f"{uid}.1",
                    "sopClass": {"system": codes.URI, "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
                }
            ],
            "performer": [{"actor": {"reference": LEAD}}],
        }
        return {
            "status": "available",
            "started": "2027-01-04T09:05:00Z",
            "numberOfSeries": 1,
            "numberOfInstances": 1,
            "series": [series],
        }

    def _report(self, request: str, study: str) -> Json:
        return {
            "resourceType": "DiagnosticReport",
            "basedOn": [{"reference": request}],
            "status": "final",
            "category": [codes.RADIOLOGY.concept],
            "code": {"text": "CT of head: report"},
            "subject": {"reference": self._patient},
            "issued": "2027-01-04T10:00:00Z",
            "performer": [{"reference": LEAD}],
            "resultsInterpreter": [{"reference": "PractitionerRole/reporter"}],
            "imagingStudy": [{"reference": study}],
            "conclusion": "No intracranial haemorrhage.",
        }


async def _patient(client: Client, line: Connection) -> str:
    """Register somebody who has no practice: the reports go to who asked alone."""
    body = {"resourceType": "Patient", "managingOrganization": {"reference": LEAD}}
    status, answer = await line.ask(client.request("POST", "/Patient", body))
    if status != 201:
        raise SystemExit(f"Patient: http {status} {answer[:400]!r}")
    return f"Patient/{json.loads(answer)['id']}"


async def measure(
    url: str, token: str, server: Roots, requests: int = REQUESTS
) -> dict[str, float]:
    """Walk with one actor, then with sixteen.

    Returns
    -------
    dict
        Milliseconds of each step of the one (median and 95th percentile), requests a second of the
        sixteen, and CPU milliseconds a request.
    """
    client = Client(f"{url}/fhir", token)
    times: dict[str, list[float]] = defaultdict(list)
    line = await client.connect()
    patients = [await _patient(client, line) for _ in range(PATIENTS)]
    alone = Actor(client, line, patients[0], lambda step, took: times[step].append(took))
    for _ in range(ALONE):
        await alone.walk()
    found: dict[str, float] = {}
    every = sorted(one for each in times.values() for one in each)
    for name, each in (*times.items(), ("any step", every)):
        ordered = sorted(each)
        found[f"{name}: median ms"] = 1000 * percentile(ordered, 0.5)
        found[f"{name}: p95 ms"] = 1000 * percentile(ordered, 0.95)
    left = requests
    cpu, began = cpu_seconds(server), time.perf_counter()

    async def act(number: int) -> None:
        nonlocal left
        patient = patients[number % PATIENTS]
        actor = Actor(client, await client.connect(), patient, lambda step, took: None)
        while left > 0:
            left -= 1
            await actor.walk()

    await asyncio.gather(*(act(number) for number in range(ACTORS)))
    took = time.perf_counter() - began
    found[f"requests a second, {ACTORS} actors"] = requests / took
    found["CPU ms a request"] = 1000 * (cpu_seconds(server) - cpu) / requests
    return found
