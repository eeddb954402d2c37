"""Every refusal there is sounds like something over FHIR, and like nothing it should not."""

import json
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import pytest

import dicom_bridge
import fhir_server
import smart_apps
from fhir_server.rest import outcomes
from resources import errors, models
from resources.errors import Issue, Refusal

STATUSES = {
    "Refusal":          (400, "processing"),
    "Invalid":          (400, "invalid"),
    "Unusable":         (400, "invalid"),
    "Unreadable":       (400, "structure"),
    "Unprocessable":    (422, "business-rule"),
    "NotDicom":         (400, "invalid"),
    "Unsupported":      (400, "not-supported"),
    "NotAcceptable":    (406, "not-supported"),
    "UnsupportedMedia": (415, "not-supported"),
    "MethodNotAllowed": (405, "not-supported"),
    "NotOffered":       (501, "not-supported"),
    "Unauthenticated":  (401, "login"),
    "Forbidden":        (403, "forbidden"),
    "NotFound":         (404, "not-found"),
    "Gone":             (410, "deleted"),
    "Conflict":         (409, "conflict"),
    "Stale":            (412, "conflict"),
    "Unconditional":    (428, "conflict"),
    "Ambiguous":        (412, "multiple-matches"),
    "Exhausted":        (503, "throttled"),
    "Throttled":        (429, "throttled"),
    "TooLarge":         (413, "too-long"),
    "QueryTooLong":     (414, "too-long"),
}  # fmt: skip
"""FHIR http, status codes; typed in again, not taken from the table under test."""

ISSUE_TYPES = frozenset({
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown",
    "expired", "forbidden", "suppressed", "processing", "not-supported", "duplicate",
    "multiple-matches", "not-found", "deleted", "too-long", "code-invalid", "extension",
    "too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store", "exception",
    "timeout", "incomplete", "throttled", "informational",
})  # fmt: skip
"""FHIR value set issue-type."""


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    yield kind
    for below in kind.__subclasses__():
        yield from refusals(below)


def everywhere() -> set[type[Refusal]]:
    for package in (fhir_server, dicom_bridge, smart_apps):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" not in module.name and not module.name.endswith("__main__"):
                import_module(module.name)
    return set(refusals())


@pytest.mark.standard("FHIR http status codes")
@pytest.mark.parametrize(("name", "expected"), STATUSES.items())
def test_a_refusal_has_the_status_and_code_of_the_standard(
    name: str, expected: tuple[int, str]
) -> None:
    kind = next(
        kind
        for kind in everywhere()
        if kind.__name__ == name and not kind.__module__.startswith("dicom_bridge.dicomweb")
    )

    assert outcomes.SOUNDS[next(k for k in kind.__mro__ if k in outcomes.SOUNDS)] == expected


def test_every_refusal_is_told_as_a_failure_of_the_asker_or_of_room() -> None:
    told = {kind.__name__: outcomes.sound(kind.__new__(kind)).status for kind in everywhere()}

    assert {name: status for name, status in told.items() if not 400 <= status <= 503} == {}
    assert "Refusal" in told
    assert {name for name in vars(errors) if name in STATUSES} <= told.keys()


def test_every_code_is_an_issue_type() -> None:
    assert {sound.code for sound in outcomes.SOUNDS.values()} <= ISSUE_TYPES


def test_what_is_no_refusal_is_told_without_detail() -> None:
    answer = outcomes.answer(KeyError("Robin Testcase 9990000018"))

    assert answer.status == 500
    assert b"Robin" not in answer.body
    assert b"KeyError" not in answer.body
    assert json.loads(answer.body)["issue"][0]["code"] == "exception"


@pytest.mark.parametrize(
    "problem",
    [
        Refusal(),
        Refusal("A reason with \ud800 half a surrogate, \0 and \n a line."),
        errors.Invalid(issues=[Issue("required", "One.", "Task.status"), Issue("", "Two.")]),
        errors.Forbidden("No.", step="role"),
        ValueError("no"),
    ],
)
def test_every_outcome_is_one_to_somebody_else(problem: Exception) -> None:
    answer = outcomes.answer(problem)

    outcome = models.model("OperationOutcome").model_validate_json(answer.body)
    assert all(issue.details.text for issue in outcome.issue)
    assert {issue.code for issue in outcome.issue} <= ISSUE_TYPES


def test_all_issues_are_told_with_their_place() -> None:
    problem = errors.Invalid(
        issues=[Issue("required", "One.", "Task.status"), Issue("value", "Two.", "Task.for")]
    )

    told = json.loads(outcomes.answer(problem).body)["issue"]

    assert [issue["expression"] for issue in told] == [["Task.status"], ["Task.for"]]
    assert [issue["code"] for issue in told] == ["required", "value"]


def test_who_must_wait_is_told_how_long() -> None:
    answer = outcomes.answer(errors.Exhausted("No room."))

    assert answer.header(b"retry-after").isdecimal()


@pytest.mark.standard("RFC 6750 3")
def test_who_is_not_known_is_told_what_to_bring() -> None:
    assert (
        outcomes.answer(errors.Unauthenticated()).header(b"www-authenticate").startswith("Bearer")
    )
