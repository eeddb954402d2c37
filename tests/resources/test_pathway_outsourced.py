"""The pathways of handed-out work, walked in every order (requirements, figures 4-2 to 4-4)."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources import codes, elements, plan
from resources.agreement import AFFILIATION_CODE, PARTS, Agreement
from resources.onward_request import family, is_onward
from resources.pathway import Case, Create, reconcile_all
from resources.pathway_values import PARTIES, VALUES
from resources.plan import CRITERIA
from resources.request_state import Held, RequestState, kind
from resources.task import FINAL, step_of
from resources.validate import check
from tests.build import a_report, a_request, a_study, an_appointment

Json = Mapping[str, Any]

INSTANT = "2026-11-24T03:00:00.000Z"
ACQUISITION = "outsourced-acquisition"
REPORTING = "outsourced-reporting"
BOTH = "outsourced-acquisition-and-reporting"
OUTSOURCED = (ACQUISITION, REPORTING, BOTH)
PLACES = {
    ACQUISITION: ("acquires-for",),
    REPORTING: ("reports-for",),
    BOTH: ("acquires-for", "reports-for"),
}
DELEGATED = "delegated-justification"
EARLY = "release-before-report"
DIRECT = "direct-release-to-reviewer"
BY_ITSELF = "automatic-acceptance"


class World:
    """One request, what was made of it, and what serves it."""

    def __init__(self, kind: str, *terms: str) -> None:
        self.held: dict[str, Held] = {}
        self.kind = kind
        self.terms = terms
        self.put(a_request())

    def put(self, json: Json) -> None:
        """Write a resource, as a person or a machine would, and let follow what follows."""
        reference = f"{json['resourceType']}/{json['id']}"
        version = self.held[reference].version + 1 if reference in self.held else 1
        self.held[reference] = Held(json, version)
        self.rest()

    def based(self, request: str) -> tuple[Held, ...]:
        name = {"reference": f"ServiceRequest/{request}"}
        return tuple(
            one
            for one in self.held.values()
            if name in one.json.get("basedOn", ()) and one.json["resourceType"] != "ServiceRequest"
        )

    def cases(self) -> list[Case]:
        root = RequestState(self.held["ServiceRequest/sr1"], self.based("sr1"), lead_ods="ZZ901")
        onward = []
        for one in sorted(self.held.values(), key=lambda each: each.reference):
            if one.json["resourceType"] == "ServiceRequest" and one.json["id"] != "sr1":
                others = [*self.based(one.json["id"]), Held(self.affiliation(), 4)]
                others += [
                    consent
                    for consent in self.held.values()
                    if consent.json.get("sourceReference") == {"reference": one.reference}
                ]
                onward.append(RequestState(one, tuple(others), lead_ods="ZZ902"))
        empty = Agreement("Organization/lead")
        return [
            Case(plan.load(kind(state.request.json)), empty, state)
            for state in family(root, onward)
        ]

    def affiliation(self) -> Json:
        terms = [{"url": f"{codes.OURS}/{term}", "valueBoolean": True} for term in self.terms]
        return {
            "resourceType": "OrganizationAffiliation",
            "id": "agreed",
            "extension": terms,
            "organization": {"reference": "Organization/lead"},
            "participatingOrganization": {"reference": "Organization/other"},
            "code": [
                {"coding": [{"system": AFFILIATION_CODE, "code": code}]}
                for code in PLACES[self.kind]
            ],
        }

    def rest(self) -> None:
        for one in reconcile_all(self.cases(), INSTANT):
            reference = f"{one.json['resourceType']}/{one.json['id']}"
            version = 1 if isinstance(one, Create) else one.version + 1
            self.held[reference] = Held(one.json, version)
        assert reconcile_all(self.cases(), INSTANT) == ()

    # --- what people do -------------------------------------------------------------------------

    def outsource(self, id: str = "sr1a", **members: Any) -> None:
        made = {
            "intent": "filler-order",
            "basedOn": [{"reference": "ServiceRequest/sr1"}],
            "category": [elements.concept(codes.REQUEST_KIND, self.kind)],
            "requester": {"reference": "Organization/lead"},
            "performer": [{"reference": "Organization/other"}],
        }
        self.put(a_request(id, **{**made, **members}))

    def steps(self, step: str, request: str) -> list[Json]:
        found = [one.json for one in self.based(request) if step_of(one.json) == step]
        return sorted(found, key=lambda one: str(one["status"]))

    def change(self, step: str, request: str, **members: Any) -> bool:
        """A person's update of the open Tasks of a step that are not on hold."""
        for task in self.steps(step, request):
            if task["status"] not in FINAL and task["status"] != "on-hold":
                self.put({**task, **members})
                return True
        return False

    def authorise(self, request: str = "sr1") -> bool:
        status = codes.AUTHORISED.concept
        return self.change("justify", request, status="completed", businessStatus=status)

    def book(self) -> None:
        self.put(an_appointment(request="sr1" if self.kind == REPORTING else "sr1a"))

    def images_arrive(self) -> None:
        studies = [one for one in self.held.values() if one.json["resourceType"] == "ImagingStudy"]
        known: Json = studies[0].json if studies else {"id": "is1"}
        come: Json = a_study(request="sr1")
        self.put({**come, **known, "status": "available", "series": come["series"]})

    def report(self, number: int = 1) -> None:
        based_on = [{"reference": f"ServiceRequest/{one}"} for one in self.for_report()]
        meta = self.held["DiagnosticReport/dr1"].json.get("meta") if self.reported() else None
        text = f"Reading {number}"
        self.put(a_report(basedOn=based_on, conclusion=text, meta=meta, performer=self.reporter()))

    def reported(self) -> bool:
        return "DiagnosticReport/dr1" in self.held

    def for_report(self) -> tuple[str, ...]:
        return ("sr1",) if self.kind == ACQUISITION else ("sr1a", "sr1")

    def reporter(self) -> list[Json]:
        who = "lead" if self.kind == ACQUISITION else "other"
        return [{"reference": f"Organization/{who}"}]

    def accept(self) -> bool:
        return any(
            self.change(
                "monitor", "sr1a", status="completed", businessStatus=codes.ACCEPTED.concept
            )
            for task in self.steps("monitor", "sr1a")
            if task["status"] == "ready"
        )

    def send_back(self) -> bool:
        why = {"text": "The left lung is not described"}
        return any(
            self.change(
                "monitor",
                "sr1a",
                status="in-progress",
                businessStatus=codes.RETURNED.concept,
                statusReason=why,
            )
            for task in self.steps("monitor", "sr1a")
            if task["status"] == "ready"
        )

    def acknowledge(self) -> bool:
        status = codes.ACKNOWLEDGED.concept
        return self.change("acknowledge", "sr1", status="completed", businessStatus=status)

    # --- how it stands --------------------------------------------------------------------------

    def request(self, id: str = "sr1") -> Json:
        return self.held[f"ServiceRequest/{id}"].json

    def withheld(self) -> set[str]:
        return {
            one.json["resourceType"]
            for one in self.held.values()
            if codes.UNRELEASED.json in one.json.get("meta", {}).get("security", ())
        }

    def may_read(self, organization: str) -> set[str]:
        """Types that an organisation is let read by the engine."""
        return {
            each["reference"]["reference"].partition("/")[0]
            for one in self.held.values()
            if one.json["resourceType"] == "Consent" and one.json["status"] == "active"
            and one.json["provision"]["actor"][0]["reference"]["reference"]
            == f"Organization/{organization}"
            for each in one.json["provision"]["data"]
        }  # fmt: skip

    def told(self) -> dict[str, tuple[str, ...]]:
        """Everything, without what follows from the order of versions."""
        return {
            reference: (
                one.json.get("status", ""),
                str(one.json.get("businessStatus")),
                str(one.json.get("meta")),
                str(sorted(elements.references(one.json.get("basedOn")))),
            )
            for reference, one in self.held.items()
        }


def under_way(kind: str, *terms: str) -> World:
    """An authorised request, handed over, whose provider has justified too where it must."""
    world = World(kind, *terms)
    world.authorise()
    world.outsource()
    world.authorise("sr1a")
    return world


def read(kind: str, *terms: str) -> World:
    world = under_way(kind, *terms)
    world.book()
    world.images_arrive()
    world.report()
    return world


@pytest.mark.requirement("W2")
@pytest.mark.requirement("W4")
@pytest.mark.parametrize("kind", [ACQUISITION, BOTH])
def test_the_acquiring_organisation_justifies_too(kind: str) -> None:
    world = World(kind)
    world.outsource()
    assert world.steps("justify", "sr1a") == []

    world.authorise()
    (justify,) = world.steps("justify", "sr1a")
    assert justify["owner"] == {"reference": "Organization/other"}
    assert justify["intent"] == "filler-order"
    assert world.steps("acquire", "sr1a") == []

    world.authorise("sr1a")
    (acquire,) = world.steps("acquire", "sr1a")
    assert acquire["owner"] == {"reference": "Organization/other"}
    (own,) = world.steps("acquire", "sr1")
    assert acquire["partOf"] == [{"reference": f"Task/{own['id']}"}]


@pytest.mark.requirement("W2")
def test_a_delegated_practitioner_justifies_for_the_acquiring_organisation() -> None:
    world = World(ACQUISITION, DELEGATED)
    world.authorise()
    world.outsource()

    assert world.steps("justify", "sr1a") == []
    assert [task["status"] for task in world.steps("acquire", "sr1a")] == ["requested"]


@pytest.mark.requirement("W2")
@pytest.mark.parametrize(
    ("kind", "step"), [(ACQUISITION, "acquire"), (REPORTING, "report"), (BOTH, "acquire")]
)
def test_the_step_of_the_lead_is_on_hold_and_comes_back_when_it_is_declined(
    kind: str, step: str
) -> None:
    world = World(kind)
    world.authorise()
    if kind == REPORTING:
        world.images_arrive()
    world.outsource()
    (own,) = world.steps(step, "sr1")
    assert (own["status"], codes.has(own["businessStatus"], codes.OUTSOURCED)) == ("on-hold", True)
    (monitor,) = world.steps("monitor", "sr1a")
    assert (monitor["status"], monitor["owner"]["reference"]) == (
        "in-progress",
        "Organization/lead",
    )

    first = "report" if kind == REPORTING else "justify"
    world.change(first, "sr1a", status="rejected", statusReason={"text": "No capacity"})

    assert world.request("sr1a")["status"] == "revoked"
    (own,) = world.steps(step, "sr1")
    assert own["status"] == ("ready" if kind == REPORTING else "requested")
    assert own["statusReason"] == {"text": "No capacity"}
    assert "businessStatus" not in own
    (monitor,) = world.steps("monitor", "sr1a")
    assert codes.has(monitor["businessStatus"], codes.DECLINED)
    assert world.may_read("other") == set()
    assert world.withheld() == set()


@pytest.mark.requirement("W3")
def test_what_was_not_begun_in_time_comes_back_to_the_lead() -> None:
    world = World(REPORTING)
    world.authorise()
    world.images_arrive()
    world.outsource()
    world.change("report", "sr1a", status="cancelled", businessStatus=codes.EXPIRED.concept)

    assert world.request("sr1a")["status"] == "revoked"
    assert [task["status"] for task in world.steps("report", "sr1")] == ["ready"]
    assert codes.has(world.steps("monitor", "sr1a")[0]["businessStatus"], codes.EXPIRED)


@pytest.mark.requirement("W2")
def test_what_was_taken_back_may_be_handed_over_again() -> None:
    world = under_way(ACQUISITION)
    world.put({**world.request("sr1a"), "status": "revoked"})
    assert [task["status"] for task in world.steps("acquire", "sr1")] == ["requested"]
    assert {task["status"] for task in world.steps("acquire", "sr1a")} == {"cancelled"}

    world.outsource("sr1b")
    assert [task["status"] for task in world.steps("acquire", "sr1")] == ["on-hold"]
    assert world.request("sr1b")["status"] == "active"


@pytest.mark.requirement("W2")
def test_a_request_that_is_withdrawn_takes_what_serves_it_with_it() -> None:
    world = under_way(ACQUISITION)
    world.put({**world.request(), "status": "revoked"})

    assert world.request("sr1a")["status"] == "revoked"
    assert {one.json["status"] for one in world.based("sr1a") if "Task" in one.reference} == {
        "completed",
        "cancelled",
    }


@pytest.mark.requirement("W2")
def test_the_study_has_the_number_of_who_acquired_it_beside_that_of_the_lead() -> None:
    world = under_way(ACQUISITION)
    world.images_arrive()
    (study,) = [one for one in world.held.values() if one.reference.startswith("ImagingStudy/")]

    systems = {one["system"].rpartition("/")[2] for one in study.json["identifier"]}
    assert {"ZZ901", "ZZ902"} <= systems
    assert len(study.json["basedOn"]) == 2


@pytest.mark.requirement("W3")
@pytest.mark.requirement("W4")
@pytest.mark.parametrize("kind", [REPORTING, BOTH])
def test_the_referrer_is_asked_when_the_lead_has_accepted(kind: str) -> None:
    world = read(kind)
    assert world.steps("acknowledge", "sr1") == []
    assert "DiagnosticReport" in world.withheld()
    assert [task["status"] for task in world.steps("monitor", "sr1a")] == ["ready"]
    assert [task["status"] for task in world.steps("report", "sr1")] == ["on-hold"]

    assert world.accept()
    assert world.request("sr1a")["status"] == "completed"
    assert world.withheld() == set()
    (task,) = world.steps("acknowledge", "sr1")
    assert task["requester"] == {"reference": "Organization/lead"}
    assert task["focus"] == {"reference": world.held["DiagnosticReport/dr1"].versioned}
    assert [task["status"] for task in world.steps("report", "sr1")] == ["completed"]

    world.acknowledge()
    assert world.request()["status"] == "completed"


@pytest.mark.requirement("W3")
@pytest.mark.parametrize("kind", [REPORTING, BOTH])
def test_a_report_that_is_sent_back_is_read_again(kind: str) -> None:
    world = read(kind)
    world.send_back()

    assert [task["status"] for task in world.steps("report", "sr1a")] == ["completed", "ready"]
    assert [task["status"] for task in world.steps("monitor", "sr1a")] == ["in-progress"]
    assert world.steps("acknowledge", "sr1") == []

    world.report(2)
    assert [task["status"] for task in world.steps("report", "sr1a")] == ["completed"] * 2
    assert [task["status"] for task in world.steps("monitor", "sr1a")] == ["ready"]
    assert world.accept()
    assert len(world.steps("acknowledge", "sr1")) == 1


@pytest.mark.requirement("W3")
def test_by_agreement_a_report_is_accepted_as_it_comes() -> None:
    world = read(REPORTING, BY_ITSELF)

    assert world.request("sr1a")["status"] == "completed"
    assert codes.has(world.steps("monitor", "sr1a")[0]["businessStatus"], codes.ACCEPTED)
    assert len(world.steps("acknowledge", "sr1")) == 1


@pytest.mark.requirement("W3")
def test_by_agreement_the_reviewer_has_the_report_at_once_and_the_lead_accepts_it_later() -> None:
    world = read(REPORTING, DIRECT)
    assert world.withheld() == set()
    assert len(world.steps("acknowledge", "sr1")) == 1

    world.acknowledge()
    assert world.request()["status"] == "active"
    world.accept()
    assert world.request()["status"] == "completed"
    assert len(world.steps("acknowledge", "sr1")) == 1


@pytest.mark.requirement("W4")
@pytest.mark.parametrize(
    ("kind", "terms", "lead", "everybody"),
    [
        (ACQUISITION, (), True, False),
        (ACQUISITION, (DIRECT,), True, True),
        (BOTH, (), False, False),
        (BOTH, (EARLY,), True, False),
        (BOTH, (DIRECT,), True, True),
    ],
)
def test_who_sees_images_before_the_report(
    kind: str, terms: tuple[str, ...], lead: bool, everybody: bool
) -> None:
    world = under_way(kind, *terms)
    world.images_arrive()

    assert ("ImagingStudy" not in world.withheld()) == everybody
    assert (everybody or "ImagingStudy" in world.may_read("lead")) == lead
    assert "ImagingStudy" in world.may_read("other")

    world.report()
    if kind == BOTH:
        assert "ImagingStudy" not in world.withheld() or "ImagingStudy" in world.may_read("lead")
        world.accept()
    assert world.withheld() == set()


@pytest.mark.requirement("W2")
def test_the_provider_reads_the_request_the_notes_and_the_images_and_nothing_else() -> None:
    assert under_way(ACQUISITION).may_read("other") == {
        "Patient",
        "ServiceRequest",
        "Task",
        "ImagingStudy",
    }


EVENTS: dict[str, Callable[[World], object]] = {
    "authorise": World.authorise,
    "outsource": World.outsource,
    "authorise there": lambda world: world.authorise("sr1a"),
    "book": World.book,
    "images": World.images_arrive,
    "report": World.report,
}


@pytest.mark.requirement("G1")
@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(OUTSOURCED),
    st.sets(st.sampled_from([DELEGATED, EARLY, DIRECT, BY_ITSELF])),
    st.permutations(["outsource", "authorise", "book", "images"]),
)
def test_any_order_of_events_reaches_the_same_end(
    kind: str, terms: set[str], order: list[str]
) -> None:
    """Images may come before they are asked for; then the part is done, and is not handed over."""
    if kind != REPORTING and order.index("images") < order.index("outsource"):
        order = [one for one in order if one != "images"] + ["images"]
    world = World(kind, *sorted(terms))
    for name in order:
        EVENTS[name](world)
        world.authorise("sr1a")
    world.report()
    world.accept()
    while world.acknowledge():
        pass

    assert world.request()["status"] == "completed"
    assert world.request("sr1a")["status"] == "completed"
    assert world.withheld() == set()
    tasks = [one.json for one in world.held.values() if one.json["resourceType"] == "Task"]
    assert {task["status"] for task in tasks} == {"completed"}
    counted = {
        ACQUISITION: 6 if DELEGATED in terms else 7,
        REPORTING: 6,
        BOTH: 7 if DELEGATED in terms else 8,
    }
    assert len(tasks) == counted[kind]


DEEDS: list[Callable[[World], object]] = [
    *EVENTS.values(),
    World.accept,
    World.send_back,
    World.acknowledge,
    lambda world: world.report(2),
    lambda world: world.change(
        "justify", "sr1a", status="rejected", statusReason={"text": "No capacity"}
    ),
    lambda world: world.change(
        "report", "sr1a", status="cancelled", businessStatus=codes.EXPIRED.concept
    ),
    lambda world: world.put({**world.request(), "status": "revoked"}),
]


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(OUTSOURCED),
    st.sets(st.sampled_from([DELEGATED, EARLY, DIRECT, BY_ITSELF])),
    st.lists(st.sampled_from(DEEDS), max_size=14),
)
def test_whatever_happens_the_work_is_with_one_organisation(
    kind: str, terms: set[str], deeds: list[Callable[[World], object]]
) -> None:
    world = World(kind, *sorted(terms))
    for deed in deeds:
        if deed is EVENTS["outsource"] and "ServiceRequest/sr1a" in world.held:
            continue
        deed(world)
        for step in ("acquire", "report"):
            open_ = [
                task["owner"]["reference"]
                for request in ("sr1", "sr1a")
                for task in world.steps(step, request)
                if task["status"] not in {*FINAL, "on-hold"}
            ]
            assert len(open_) <= 1
        if world.steps("acquire", "sr1a"):
            assert codes.has(world.steps("justify", "sr1")[0]["businessStatus"], codes.AUTHORISED)
            assert DELEGATED in terms or world.steps("justify", "sr1a")[0]["status"] == "completed"
        if world.request()["status"] == "completed":
            assert all(task["status"] in FINAL for task in world.steps("monitor", "sr1a"))
        if DIRECT not in terms and not world.steps("monitor", "sr1a"):
            assert world.withheld() == set()


@pytest.mark.parametrize("kind", OUTSOURCED)
def test_every_action_of_a_file_names_what_the_engine_knows(kind: str) -> None:
    assert set(plan.parts(kind)) <= set(PARTS.values())
    for action in plan.load(kind):
        queries = [*action.start, *action.ready, *action.stop, *action.again]
        data = action.grant.data if action.grant else ()
        queries += [one for one in data if not isinstance(one, str)]
        for query in queries:
            assert {name for name, _ in query.criteria} <= set(CRITERIA)
            assert query.of in ("", "parent", "onward")
        for value in [*(one for _, one in action.values), *(d for d in data if isinstance(d, str))]:
            assert value.startswith("'") or value.removeprefix("%") in VALUES
        assert action.step is None or action.party in PARTIES
        assert action.step is None or set(action.due) == {"stat", "asap", "urgent", "routine"}
        assert action.grant is None or action.grant.to in PARTIES


@pytest.mark.parametrize("kind", OUTSOURCED)
def test_the_files_are_valid_plan_definitions(kind: str) -> None:
    text = (plan.PATHWAYS / f"{kind}.json").read_text("utf-8")
    assert not check(json.loads(text))


def test_a_request_of_a_referrer_is_no_onward_request() -> None:
    assert not is_onward(a_request())
    assert is_onward(a_request(category=[codes.KIND_OUTSOURCED_BOTH.concept]))


def test_a_report_that_comes_before_the_images_is_not_taken_for_both() -> None:
    world = World(BOTH, DELEGATED)
    for name in ("authorise", "outsource", "report"):
        EVENTS[name](world)
    (monitor,) = world.steps("monitor", "sr1a")

    assert monitor["status"] == "in-progress"
    world.book()
    world.images_arrive()
    assert world.steps("monitor", "sr1a")[0]["status"] == "ready"
