"""R009: who reads the report alone never misses an addendum, whatever is done in whatever order."""

import base64
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources import codes
from tests.build import a_report
from tests.flows.clinic import WHY, Clinic, Json

CLINICIANS = 8
EACH = 4


def page(report: Json) -> str:
    (form,) = [one for one in report["presentedForm"] if one.get("title") == "Whole report"]
    return base64.b64decode(form["data"]).decode()


def addendum(root: Json, text: str) -> Json:
    study = root["imagingStudy"][0]["reference"].split("/")[1]
    reference = {"reference": f"DiagnosticReport/{root['id']}"}
    return a_report(
        id=None,
        request=root["basedOn"][0]["reference"].split("/")[1],
        study=study,
        subject=root["subject"],
        conclusion=text,
        performer=None,
        resultsInterpreter=None,
        extension=[{"url": codes.ADDENDUM_OF, "valueReference": reference}],
    )


def put(client: httpx.Client, resource: Json) -> httpx.Response:
    return client.put(
        f"DiagnosticReport/{resource['id']}",
        content=json.dumps(resource),
        headers={"If-Match": f'W/"{resource["meta"]["versionId"]}"'},
    )


def until_done(act: Callable[[], httpx.Response]) -> None:
    """Do it again while somebody else was first; anything but that must be a success."""
    while True:
        answer = act()
        if answer.status_code not in (409, 412):
            assert answer.status_code in (200, 201), answer.text
            return


@pytest.mark.requirement("R009.1")
def test_no_order_of_clinicians_who_finalise_at_once_loses_a_text(clinic: Clinic) -> None:
    _, _, root = clinic.reported()
    name = f"DiagnosticReport/{root['id']}"
    together = threading.Barrier(CLINICIANS)
    client = clinic.as_("reporter")

    def amend(text: str) -> httpx.Response:
        now = client.get(name).json()
        return put(client, {**now, "status": "amended", "conclusion": text})

    def add(text: str) -> httpx.Response:
        return client.post("DiagnosticReport", content=json.dumps(addendum(root, text)))

    def work(number: int) -> None:
        together.wait()
        for turn in range(EACH):
            text = f"text-{number}-{turn}-end"
            until_done(lambda text=text: amend(text) if number == 0 else add(text))  # type: ignore[misc]

    with ThreadPoolExecutor(CLINICIANS) as pool:
        list(pool.map(work, range(CLINICIANS)))

    whole = client.get(name).json()
    told = set(re.findall(r"text-\d+-\d+-end", page(whole)))
    added = {f"text-{n}-{t}-end" for n in range(1, CLINICIANS) for t in range(EACH)}
    assert told == added | {f"text-0-{EACH - 1}-end"}
    assert set(re.findall(r"text-\d+-\d+-end", whole["text"]["div"])) >= added
    versions = client.get(f"{name}/_history?_count=100").json()["entry"]
    assert len(versions) == 1 + CLINICIANS * EACH, "each is a version of its own"


@pytest.mark.requirement("R009.1")
def test_the_first_report_and_that_of_a_review_at_once_are_one_whole(clinic: Clinic) -> None:
    for turn in range(4):
        clinic.welcome()
        (request,) = clinic.refer()
        clinic.authorise(request)
        study = clinic.images_arrive(request)
        review = clinic.review(study)
        together = threading.Barrier(2)

        def report(
            of: Json, text: str, study: Json = study, together: threading.Barrier = together
        ) -> Json:
            given = a_report(
                id=None,
                request=of["id"],
                study=study["id"],
                subject=of["subject"],
                conclusion=text,
                performer=None,
                resultsInterpreter=None,
            )
            together.wait()
            while True:
                answer = clinic.as_("reporter").post("DiagnosticReport", content=json.dumps(given))
                if answer.status_code != 409:
                    assert answer.status_code == 201, answer.text
                    made: Json = answer.json()
                    return made

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(report, request, f"first-{turn}")
            second = pool.submit(report, review, f"second-{turn}")
            root, added = first.result(), second.result()

        assert f"second-{turn}" in page(clinic.get("gp", f"DiagnosticReport/{root['id']}"))
        now = clinic.get("gp", f"DiagnosticReport/{added['id']}")
        assert any(one["url"] == codes.ADDENDUM_OF for one in now["extension"])


ACTS = st.tuples(
    st.sampled_from(["add", "amend", "correct", "withdraw", "amend-root", "correct-root"]),
    st.integers(0, 5),
)


class Model:
    """What should be told: the addenda that stand, by id, and the words of the report."""

    def __init__(self, clinic: Clinic) -> None:
        _, _, self.root = clinic.reported()
        self.client = clinic.as_("reporter")
        self.name = f"DiagnosticReport/{self.root['id']}"
        self.said = str(self.root["conclusion"])
        self.stands: dict[str, str] = {}
        self.gone: set[str] = set()
        self.count = 0

    def do(self, act: str, which: int) -> None:
        self.count += 1
        text = f"words-{self.count}-end"
        why = {"amend": [], "correct": [WHY]}
        if act == "add":
            made = self.client.post(
                "DiagnosticReport", content=json.dumps(addendum(self.root, text))
            )
            assert made.status_code == 201, made.text
            self.stands[made.json()["id"]] = text
        elif act.endswith("-root"):
            kind = act.partition("-")[0]
            self.change(self.name, f"{kind}ed", why[kind], conclusion=text)
            self.gone.add(self.said)
            self.said = text
        elif self.stands:
            id = sorted(self.stands)[which % len(self.stands)]
            self.gone.add(self.stands[id])
            if act == "withdraw":
                self.change(f"DiagnosticReport/{id}", "entered-in-error", [])
                del self.stands[id]
            else:
                self.change(f"DiagnosticReport/{id}", f"{act}ed", why[act], conclusion=text)
                self.stands[id] = text

    def change(self, name: str, status: str, why: list[Json], **members: Any) -> None:
        now = self.client.get(name).json()
        others = [one for one in now["extension"] if one["url"] != codes.EVENT_STATUS_REASON]
        answer = put(
            self.client, {**now, "status": status, "extension": [*others, *why], **members}
        )
        assert answer.status_code == 200, answer.text

    def check(self) -> None:
        whole = self.client.get(self.name).json()
        wanted = {self.said, *self.stands.values()}
        for told in (page(whole), whole["text"]["div"]):
            assert all(text in told for text in wanted)
            assert not any(text in told for text in self.gone - wanted)


@pytest.mark.requirement("R009.1")
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(acts=st.lists(ACTS, min_size=1, max_size=7))
def test_a_client_that_reads_only_the_report_never_misses_an_addendum(
    clinic: Clinic, acts: list[tuple[str, int]]
) -> None:
    model = Model(clinic)
    for act, which in acts:
        model.do(act, which)
        model.check()
