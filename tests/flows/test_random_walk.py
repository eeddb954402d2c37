"""Everybody does anything in any order, right and wrong, and the record holds together.

Three organisations and strangers act on one patient of a real server: the lead provider, a partner
that acquires and reports for it by agreement, one that is asked for opinions. After every act it
is asked, as clients, what there is. A longer walk::

    ISOCENTRE_WALK=200x60 pytest tests/flows/test_random_walk.py   # walks x acts
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydicom.dataset import Dataset

from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.worklist import scheduled
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks
from resources import codes, elements
from resources.errors import Refusal
from tests.build import a_report, a_request, an_appointment
from tests.flows.clinic import WHY, Clinic
from tests.flows.partners import (
    ACQUISITION,
    BOTH,
    BY_ITSELF,
    DELEGATED,
    DIRECT,
    EARLY,
    REPORTING,
    Partner,
    an_onward_request,
)

Json = dict[str, Any]

WALKS, ACTS = map(int, os.environ.get("ISOCENTRE_WALK", "6x25").split("x"))

ANSWERS = frozenset({200, 201, 400, 403, 404, 409, 412, 422})
"""What a server may say to a request that is right or wrong, and nothing else."""

OPEN = frozenset({"draft", "requested", "received", "accepted", "ready", "in-progress", "on-hold"})
STATUSES = sorted(OPEN | {"completed", "cancelled", "rejected", "failed", "entered-in-error"})
ISSUED = frozenset({"final", "amended", "corrected", "appended"})
ONWARD = {
    ACQUISITION.code: {"acquire"},
    REPORTING.code: {"report"},
    BOTH.code: {"acquire", "report"},
}
KINDS = {one.code: one for one in (ACQUISITION, REPORTING, BOTH)}
TERMS = [DELEGATED, EARLY, DIRECT, BY_ITSELF]
TYPES = ("ServiceRequest", "Task", "DiagnosticReport", "ImagingStudy", "Consent", "Appointment")
LEAD = "Organization/northmoor"
WHICH = st.integers(0, 5)
ACTORS = (
    "gp", "gp2", "delegate", "coordinator", "practitioner", "operator", "reporter", "safety",
    "lead", "partner", "partner-practitioner", "partner-reporter", "partner-operator",
    "reviewer", "reviewer-reporter", "stranger", "stranger-reporter",
)  # fmt: skip
WHO = st.sampled_from(ACTORS)


class Worklists:
    """What is on the modality worklist of an organisation, asked as its modality asks."""

    def __init__(self, url: str, base: str, folder: Path) -> None:
        self.runner = asyncio.Runner()
        database = Database(url, size=2)
        self.runner.run(database.open())
        ledger = Ledger(database)
        store = Store(database, ledger, Hooks(), base)
        self.bridge = Bridge(database, store, ledger, Blobs(folder))

    def of(self, organization: str) -> list[Any]:
        modality = Peer("CT9", "127.0.0.1", 104, organization).principal
        context = RequestContext(modality, "MWL C-FIND", "127.0.0.1")
        return self.runner.run(scheduled(self.bridge, context, Dataset()))

    def close(self) -> None:
        self.runner.run(self.bridge.crew.close())
        self.bridge.intake.close()
        self.runner.run(self.bridge.database.close())
        self.runner.close()


@pytest.fixture
def worklists(clinic: Clinic, tmp_path: Path) -> Iterator[Worklists]:
    made = Worklists(clinic._database_url, clinic.server.base, tmp_path / "blobs")
    yield made
    made.close()


def step(task: Json) -> str:
    if task["resourceType"] != "Task":
        return ""
    return elements.code_in(task.get("code"), codes.IMAGING_STEP) or ""


def kind(request: Json) -> str:
    return next(
        (
            coding["code"]
            for concept in request.get("category", ())
            for coding in concept["coding"]
            if coding.get("system") == codes.KIND_PRIMARY.system
        ),
        "",
    )


def based_on(resource: Json) -> list[str]:
    return [elements.unversioned(one) for one in elements.references(resource.get("basedOn"))]


def is_said_only(task: Json, status: str) -> bool:
    """Whether a step would be completed of which nothing came yet: then its result is awaited."""
    return status == "completed" and step(task) in ("acquire", "report")


class Walk(RuleBasedStateMachine):
    """One patient, and whoever does something about them."""

    clinic: Clinic
    worklists: Worklists

    def __init__(self) -> None:
        super().__init__()
        self.clinic.welcome()
        self.patient = self.clinic.patient
        self.requests = 0
        self.completed: set[str] = set()
        self.log: list[str] = []

    def told(self, *more: Any) -> str:
        """What was done, and what is wrong now."""
        return "\n".join([*self.log, *map(str, more)])

    # --- who is there ---------------------------------------------------------------------------

    @initialize(terms=st.lists(st.sampled_from(TERMS), unique=True).map(tuple))
    def begin(self, terms: tuple[str, ...]) -> None:
        self.partner = Partner(self.clinic, "acquires-for", "reports-for", terms=terms)
        self.reviewer, self.stranger = Partner(self.clinic), Partner(self.clinic)
        self.record: dict[str, Json] = {}
        self.look()
        self.place("gp")

    def client(self, who: str) -> httpx.Client:
        name, _, role = who.partition("-")
        house = {"partner": self.partner, "reviewer": self.reviewer, "stranger": self.stranger}
        if name in house:
            place = house[name]
            return place.as_(role or "application")
        if name == "lead":
            return self.clinic.server.client("application", "northmoor")
        return self.clinic.as_(name)

    def look(self) -> None:
        """All that there is about the patient, as the lead provider and the practice see it."""
        self.record = {}
        for client in (self.client("lead"), self.client("gp")):
            for type_ in TYPES:
                by = "based-on:ServiceRequest.subject" if type_ == "Appointment" else "patient"
                answer = client.get(f"{type_}?{by}={self.patient}&_count=500")
                assert answer.status_code == 200, answer.text
                for entry in answer.json().get("entry", ()):
                    one = entry["resource"]
                    self.record[f"{one['resourceType']}/{one['id']}"] = one

    def all(self, type_: str) -> list[Json]:
        found = [one for one in self.record.values() if one["resourceType"] == type_]
        return sorted(found, key=lambda one: (one["meta"]["lastUpdated"], one["id"]))

    def one(self, type_: str, which: int, *, where: Any = None) -> Json | None:
        found = [one for one in self.all(type_) if where is None or where(one)]
        return found[-1 - which % len(found)] if found else None

    def said(self, answer: httpx.Response, what: str) -> Json | None:
        """What was answered, if it was a success; it is looked at again either way."""
        self.log.append(f"{what}: {answer.status_code}")
        assert answer.status_code in ANSWERS, self.told(answer.text)
        self.look()
        return answer.json() if answer.status_code < 300 else None

    def post(self, who: str, resource: Json) -> Json | None:
        answer = self.client(who).post(resource["resourceType"], content=json.dumps(resource))
        return self.said(answer, f"{who} makes {resource['resourceType']}")

    def put(self, who: str, resource: Json, **members: Any) -> Json | None:
        now = {k: v for k, v in {**resource, **members}.items() if v is not None}
        name = f"{resource['resourceType']}/{resource['id']}"
        answer = self.client(who).put(
            name,
            content=json.dumps(now),
            headers={"If-Match": f'W/"{resource["meta"]["versionId"]}"'},
        )
        told = {k: v for k, v in members.items() if isinstance(v, str)}
        return self.said(answer, f"{who} changes {step(resource) or name} {told}")

    # --- what they do ---------------------------------------------------------------------------

    @precondition(lambda self: self.requests < 4)
    @rule(who=st.sampled_from(["gp", "gp", "gp2", "stranger-referrer"]))
    def refer(self, who: str) -> None:
        self.place(who)

    def place(self, who: str) -> None:
        self.requests += 1
        asker = "gp" if who.startswith("stranger") else who
        requester = {"reference": f"PractitionerRole/{asker}"}
        self.post(
            who,
            a_request(
                id=None,
                subject={"reference": self.patient},
                requester=requester,
                performer=[{"reference": LEAD}],
                requisition={"system": codes.ISR, "value": f"ISR-{self.patient}-{self.requests}"},
            ),
        )

    @rule(which=WHICH, authority=st.booleans())
    def justify(self, which: int, authority: bool) -> None:
        task = self.one("Task", which, where=lambda t: step(t) == "justify" and t["status"] in OPEN)
        if task is None:
            return
        theirs = task["owner"]["reference"] == LEAD
        who = "practitioner" if theirs else "partner-practitioner"
        if authority:
            done = {"status": "completed", "businessStatus": codes.AUTHORISED.concept}
        else:
            done = {"status": "rejected", "statusReason": {"text": "No"}}
        self.put(who, task, **done)

    @rule(who=st.sampled_from(["coordinator", "partner", "reviewer"]), which=WHICH)
    def book(self, who: str, which: int) -> None:
        request = self.one("ServiceRequest", which)
        if request:
            participant = [{"actor": {"reference": self.patient}, "status": "accepted"}]
            self.post(who, an_appointment(None, request["id"], participant=participant))

    @rule(
        who=st.sampled_from(["coordinator", "partner"]),
        which=WHICH,
        status=st.sampled_from(["cancelled", "arrived", "noshow", "booked"]),
    )
    def slot(self, who: str, which: int, status: str) -> None:
        appointment = self.one("Appointment", which)
        if appointment:
            self.put(who, appointment, status=status)

    @rule(which=WHICH, by_partner=st.booleans(), again=st.booleans())
    def images(self, which: int, by_partner: bool, again: bool) -> None:
        request = self.one("ServiceRequest", which, where=lambda one: kind(one) == "primary")
        if request is None:
            return
        uid = f"2.25.{int(request['id'].replace('-', ''), 16)}" if again else ""
        asked = self.onward(f"ServiceRequest/{request['id']}")
        theirs = by_partner and any("acquire" in ONWARD[kind(one)] for one in asked)
        by = self.partner.reference if theirs else LEAD
        self.log.append(f"images of {request['status']} request by {by}")
        try:
            self.clinic.images_arrive(request, images=1, uid=uid, by=by)
        except Refusal as refusal:
            self.log.append(f"images refused: {refusal}")
        self.look()

    @rule(
        who=st.sampled_from(
            ["reporter", "partner-reporter", "reviewer-reporter", "stranger-reporter"]
        ),
        which=WHICH,
        study=WHICH,
        status=st.sampled_from(["final", "final", "preliminary"]),
    )
    def report(self, who: str, which: int, study: int, status: str) -> None:
        request = self.one("ServiceRequest", which)
        if request is None:
            return
        asked = based_on(request) or [f"ServiceRequest/{request['id']}"]
        images = self.one("ImagingStudy", study, where=lambda one: asked[0] in based_on(one))
        images = images or self.one("ImagingStudy", study)
        made = a_report(
            None,
            request=request["id"],
            study=images["id"] if images else "none-such",
            subject={"reference": self.patient},
            status=status,
            performer=None,
            resultsInterpreter=None,
        )
        self.post(who, made)

    @rule(
        who=st.sampled_from(["reporter", "partner-reporter", "reviewer-reporter"]),
        which=WHICH,
        status=st.sampled_from(["final", "amended", "corrected", "entered-in-error"]),
    )
    def revise(self, who: str, which: int, status: str) -> None:
        report = self.one("DiagnosticReport", which)
        if report:
            why = [WHY] if status == "corrected" else []
            others = [
                one
                for one in report.get("extension", ())
                if one["url"] != codes.EVENT_STATUS_REASON
            ]
            self.put(
                who,
                report,
                status=status,
                conclusion=f"Version {len(self.log)}",
                extension=[*others, *why] or None,
            )

    @rule(who=st.sampled_from(["reporter", "partner-reporter", "reviewer-reporter"]), which=WHICH)
    def add(self, who: str, which: int) -> None:
        root = self.one("DiagnosticReport", which)
        if root is None or not root.get("basedOn"):
            return
        reference = {"reference": f"DiagnosticReport/{root['id']}"}
        made = a_report(
            None,
            request=based_on(root)[0].partition("/")[2],
            study=root["imagingStudy"][0]["reference"].partition("/")[2],
            subject={"reference": self.patient},
            performer=None,
            resultsInterpreter=None,
            conclusion=f"Added {len(self.log)}",
            extension=[{"url": codes.ADDENDUM_OF, "valueReference": reference}],
        )
        self.post(who, made)

    @rule(
        which=WHICH,
        kind_of=st.sampled_from(sorted(KINDS)),
        who=st.sampled_from(["coordinator", "coordinator", "partner", "reviewer", "gp"]),
        to_reviewer=st.integers(0, 5).map(lambda one: one == 0),
    )
    def hand_over(self, which: int, kind_of: str, who: str, to_reviewer: bool) -> None:
        request = self.one("ServiceRequest", which, where=lambda one: kind(one) == "primary")
        if request:
            to = self.reviewer if to_reviewer else self.partner
            self.post(who, an_onward_request(request, to, KINDS[kind_of]))

    @rule(
        who=st.sampled_from(["gp", "gp2", "coordinator", "partner", "stranger"]),
        which=WHICH,
        status=st.sampled_from(["revoked", "revoked", "completed", "entered-in-error", "on-hold"]),
    )
    def withdraw(self, who: str, which: int, status: str) -> None:
        request = self.one("ServiceRequest", which)
        if request:
            self.put(who, request, status=status)

    @rule(which=WHICH, accepts=st.booleans())
    def judge(self, which: int, accepts: bool) -> None:
        monitored = self.one(
            "Task", which, where=lambda one: step(one) == "monitor" and one["status"] == "ready"
        )
        if monitored is None:
            return
        if accepts:
            done: Json = {"status": "completed", "businessStatus": codes.ACCEPTED.concept}
        else:
            done = {
                "status": "in-progress",
                "businessStatus": codes.RETURNED.concept,
                "statusReason": {"text": "The left lung"},
            }
        self.put("coordinator", monitored, **done)

    @rule(which=WHICH, right=st.booleans(), who=WHO)
    def acknowledge(self, which: int, right: bool, who: str) -> None:
        task = self.one(
            "Task", which, where=lambda one: step(one) == "acknowledge" and one["status"] in OPEN
        )
        if task:
            owner = task["owner"]["reference"].partition("/")[2]
            asked = owner if right and owner in ("gp", "gp2") else who
            self.put(asked, task, status="completed", businessStatus=codes.ACKNOWLEDGED.concept)

    @rule(who=WHO, which=WHICH, status=st.sampled_from(STATUSES))
    def meddle(self, who: str, which: int, status: str) -> None:
        """Anybody takes any step anywhere; who says that it is completed is believed."""
        task = self.one("Task", which, where=lambda one: one["status"] in OPEN)
        if task and not is_said_only(task, status):
            self.put(who, task, status=status, statusReason={"text": "Meddled with"})

    @rule(which=WHICH, status=st.sampled_from(["in-progress", "rejected", "failed", "completed"]))
    def work(self, which: int, status: str) -> None:
        """A provider takes a step of its own somewhere."""
        task = self.one("Task", which, where=lambda one: one["status"] in OPEN)
        if task is None or is_said_only(task, status):
            return
        roles = {"justify": "practitioner", "acquire": "operator", "report": "reporter"}
        role = roles.get(step(task), "coordinator")
        owners = {
            LEAD: role,
            self.reviewer.reference: f"reviewer-{role}",
            self.partner.reference: f"partner-{role}",
        }
        who = owners.get(task.get("owner", {}).get("reference", ""), "gp")
        self.put(who, task, status=status, statusReason={"text": "So be it"})

    @rule(who=st.sampled_from(["coordinator", "lead", "partner", "gp"]), which=WHICH)
    def do_again(self, who: str, which: int) -> None:
        """A step that has ended was entered in error."""
        task = self.one("Task", which, where=lambda one: one["status"] not in OPEN)
        if task:
            self.put(who, task, status="entered-in-error")

    @rule(who=WHO, which=WHICH, to=st.sampled_from(["partner", "reviewer", "stranger"]))
    def hand_on(self, who: str, which: int, to: str) -> None:
        """Somebody claims a step for an organisation."""
        task = self.one("Task", which, where=lambda one: one["status"] in OPEN)
        houses = {"partner": self.partner, "reviewer": self.reviewer, "stranger": self.stranger}
        place = houses[to]
        if task and not who.startswith(("gp", "lead", "coordinator")):
            theirs = task.get("owner", {}).get("reference", "")
            own = {"reporter", "practitioner", "operator", "safety", "delegate"}
            if theirs == LEAD and who in own:
                return
            self.put(who, task, owner={"reference": place.reference})

    @rule(active=st.booleans())
    def agreement(self, active: bool) -> None:
        name = f"OrganizationAffiliation/{self.partner.agreement['id']}"
        now = self.clinic.get("admin", name)
        if now["active"] != active:
            self.put("admin", now, active=active)

    @rule(who=st.sampled_from(["practitioner", "partner", "stranger", "reviewer"]), which=WHICH)
    def ask_informally(self, who: str, which: int) -> None:
        study = self.one("ImagingStudy", which)
        if study is None:
            return
        named = {
            "partner": self.partner.reference,
            "stranger": self.stranger.reference,
            "reviewer": self.reviewer.reference,
        }
        requester = named.get(who, "PractitionerRole/practitioner")
        self.post(
            who,
            {
                "resourceType": "Task",
                "status": "requested",
                "intent": "proposal",
                "code": codes.REVIEW_INFORMAL.concept,
                "focus": {"reference": f"ImagingStudy/{study['id']}"},
                "for": {"reference": self.patient},
                "requester": {"reference": requester},
                "owner": {"reference": self.reviewer.reference},
                "input": [{"type": codes.IO_CLINICAL_INFO.concept, "valueString": "Haematoma?"}],
            },
        )

    @rule(which=WHICH, status=st.sampled_from(["in-progress", "completed", "rejected"]))
    def answer_informally(self, which: int, status: str) -> None:
        task = self.one(
            "Task",
            which,
            where=lambda one: step(one) == "review-informal" and one["status"] in OPEN,
        )
        if task:
            note = [{"text": "Send him"}]
            self.put(
                "reviewer", task, status=status, note=note, statusReason={"text": "An opinion"}
            )

    @precondition(lambda self: self.requests < 5)
    @rule(who=st.sampled_from(["gp2", "stranger-referrer"]), which=WHICH, convert=st.booleans())
    def ask_formally(self, who: str, which: int, convert: bool) -> None:
        study = self.one("ImagingStudy", which)
        if study is None:
            return
        self.requests += 1
        named = [{"reference": f"ImagingStudy/{study['id']}"}]
        informal = self.one("Task", which, where=lambda one: step(one) == "review-informal")
        if convert and informal:
            named.append({"reference": f"Task/{informal['id']}"})
        self.post(
            who,
            a_request(
                id=None,
                intent="order",
                category=[codes.KIND_REVIEW_FORMAL.concept],
                subject={"reference": self.patient},
                requester={"reference": "PractitionerRole/gp2"},
                performer=[{"reference": LEAD}],
                requisition={"system": codes.ISR, "value": f"ISR-{self.patient}-{self.requests}"},
                supportingInfo=named,
            ),
        )

    # --- what holds -----------------------------------------------------------------------------

    def steps(self, *requests: str) -> list[Json]:
        return [one for one in self.all("Task") if set(requests) & set(based_on(one)) and step(one)]

    def onward(self, request: str) -> list[Json]:
        return [
            one
            for one in self.all("ServiceRequest")
            if kind(one) in ONWARD and request in based_on(one)
        ]

    @invariant()
    def no_step_is_lost(self) -> None:
        for request in self.all("ServiceRequest"):
            if request["status"] != "active" or not kind(request):
                continue
            name = f"ServiceRequest/{request['id']}"
            others = [f"ServiceRequest/{one['id']}" for one in self.onward(name)]
            reviewed = [
                elements.unversioned(one)
                for one in elements.references(request.get("supportingInfo"))
                if one.startswith("ServiceRequest/")
            ]
            there = self.steps(name, *others, *reviewed)
            if not any(one["status"] in OPEN for one in there):
                told = [(step(one), one["status"], one.get("businessStatus")) for one in there]
                undone = {one["id"] for one in there} & self.undone()
                assert undone, self.told(kind(request), *told)

    def undone(self) -> set[str]:
        """What the lead finds on its worklist of steps that were not done."""
        lead = self.client("lead")
        (found,) = lead.get("List/$worklists?name=undone").json()["parameter"]
        search = next(one["valueUrl"] for one in found["part"] if one["name"] == "search")
        page = lead.get(f"{search}&patient={self.patient}").json()
        return {one["resource"]["id"] for one in page.get("entry", ())}

    @invariant()
    def what_is_with_others_is_with_others(self) -> None:
        for task in self.all("Task"):
            if task["status"] == "on-hold" and codes.has(
                task.get("businessStatus"), codes.OUTSOURCED
            ):
                (request,) = based_on(task)
                out = [one for one in self.onward(request) if one["status"] == "active"]
                assert any(step(task) in ONWARD[kind(one)] for one in out), self.told()
                for one in out:
                    there = self.steps(f"ServiceRequest/{one['id']}")
                    assert any(
                        each["status"] in OPEN and step(each) == "monitor" for each in there
                    ), self.told()

    @invariant()
    def no_step_is_doubled(self) -> None:
        there = [one for one in self.all("Task") if one["status"] in OPEN]
        counted = Counter(
            (based_on(one)[0], step(one))
            for one in there
            if step(one) in ("justify", "acquire", "report", "monitor")
        )
        asked = Counter(
            (one["owner"]["reference"], elements.unversioned(one["focus"]["reference"]))
            for one in there
            if step(one) == "acknowledge"
        )
        for counts in (counted, asked):
            assert all(count == 1 for count in counts.values()), self.told(counts)

    @invariant()
    def no_report_is_without_its_study(self) -> None:
        for report in self.all("DiagnosticReport"):
            if report["status"] in ISSUED and report.get("basedOn"):
                studies = elements.references(report.get("imagingStudy"))
                assert studies, self.told()
                for one in studies:
                    assert self.record[one]["status"] == "available", self.told()

    @invariant()
    def nothing_is_closed_with_something_open(self) -> None:
        done = {
            f"ServiceRequest/{one['id']}"
            for one in self.all("ServiceRequest")
            if one["status"] == "completed" and kind(one)
        }
        for name in done - self.completed:
            there = [
                (step(one), one["status"]) for one in self.steps(name) if one["status"] in OPEN
            ]
            assert there == [], self.told(there)
            assert all(one["status"] != "active" for one in self.onward(name)), self.told()
        self.completed = done

    @invariant()
    def nothing_unjustified_is_on_a_modality_worklist(self) -> None:
        justified = {
            name
            for one in self.all("Task")
            if step(one) == "justify"
            and one["status"] == "completed"
            and codes.has(one.get("businessStatus"), codes.AUTHORISED)
            for name in based_on(one)
        }
        for place in ("northmoor", self.partner.id, self.reviewer.id, self.stranger.id):
            for item in self.worklists.of(place):
                if item.task["for"]["reference"] != self.patient:
                    continue
                (name,) = based_on(item.task)
                request = self.record[name]
                served = based_on(request)
                delegated = DELEGATED in json.dumps(self.partner.agreement)
                assert name in justified or (delegated and set(served) & justified), self.told()
                assert item.task["status"] in ("ready", "in-progress"), self.told()
                assert item.task["owner"]["reference"] == f"Organization/{place}", self.told()
                assert all(
                    self.record[one]["status"] in ("active", "completed") for one in (name, *served)
                ), self.told()
                assert kind(request) != "review-formal", self.told()

    @invariant()
    def a_stranger_sees_nothing(self) -> None:
        for role in ("application", "reporter"):
            client = self.stranger.as_(role)
            for name in (self.patient, *list(self.record)[-3:]):
                assert client.get(name).status_code == 404, self.told(name)
            for type_ in TYPES[:-1]:
                if role == "reporter" and type_ == "Consent":
                    continue
                page = client.get(f"{type_}?patient={self.patient}&_total=accurate").json()
                assert page.get("total") == 0, self.told(type_, page)

    @invariant()
    def partners_see_what_is_granted_made_or_asked(self) -> None:
        for place in (self.partner, self.reviewer):
            granted = {
                one["reference"]["reference"]
                for consent in self.all("Consent")
                if consent["status"] == "active" and place.reference in json.dumps(consent)
                for one in consent["provision"].get("data", ())
            }
            for type_ in ("ImagingStudy", "DiagnosticReport", "ServiceRequest", "Task"):
                for one in place.search(f"{type_}?patient={self.patient}&_count=500"):
                    name = f"{type_}/{one['id']}"
                    known = {**self.record.get(name, one)}
                    known.pop("text", None)
                    assert name in granted or place.id in json.dumps(known), self.told(known)


def test_the_record_holds_together_whatever_anybody_does(
    clinic: Clinic, worklists: Worklists
) -> None:
    walk = type("Walk", (Walk,), {"clinic": clinic, "worklists": worklists})
    run_state_machine_as_test(
        walk,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=ACTS,
            deadline=None,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            derandomize="ISOCENTRE_WALK" not in os.environ,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
