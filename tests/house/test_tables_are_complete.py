"""What one table adds, the tables beside it know: no row is half there."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_bridge import failures
from dicom_bridge.dicomweb import problems
from fhir_server.audit import events
from fhir_server.rest import outcomes
from fhir_server.rest.router import INTERACTIONS
from resources import errors, search_parameters
from resources.errors import Refusal

ROOT = Path(__file__).parents[2]

SHIPPED = ("fhir_server", "dicom_bridge", "smart_apps", "subscriptions", "demo")

RIMS: dict[str, set[type]] = {
    "FHIR": set(outcomes.SOUNDS),
    "DICOMweb": set(problems.STATUS),
    "storing": set(failures.FAILURE_REASON),
    "finding and retrieving": set(failures.FIND_OR_RETRIEVE),
}
"""Where a refusal leaves the server, and the table that says how it sounds there."""


def calls(function: str) -> Iterator[tuple[str, ast.Call]]:
    for package in SHIPPED:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(function):
                    yield str(path.relative_to(ROOT)), node


@pytest.mark.parametrize("rim", RIMS)
def test_every_refusal_sounds_like_something_at_every_rim(rim: str) -> None:
    refusals = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    refusals = {kind for kind in refusals if issubclass(kind, Refusal)}

    assert len(refusals) > 10
    assert {kind for kind in refusals if not RIMS[rim].intersection(kind.__mro__)} == set()


@pytest.mark.parametrize("name", sorted({row.name for row in INTERACTIONS}))
def test_every_fhir_interaction_has_its_audit_event(name: str) -> None:
    assert name in events.EVENTS


def test_every_context_that_is_made_names_an_interaction_with_an_audit_event() -> None:
    named = {
        (path, call.args[1].value)
        for path, call in calls("RequestContext")
        if len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
    }

    assert len(named) > 5
    assert {(path, name) for path, name in named if name not in events.EVENTS} == set()


def test_every_interaction_reached_is_an_audit_event_of_one_shape() -> None:
    actions = {row.interaction: row.action for row in events.EVENTS.values()}

    assert set(actions.values()) <= set("CRUDE")
    assert {name for name, done in events.DONE.items() if actions[done] != name} == set()
    assert actions.keys() >= events.SEVERAL


def test_every_kind_of_search_parameter_has_its_module() -> None:
    kinds = {
        row.kind
        for type in search_parameters.types()
        for row in search_parameters.parameters(type).values()
    }
    here = {path.stem for path in (ROOT / "fhir_server" / "search").glob("*.py")}

    assert kinds >= {"token", "reference", "date", "string", "uri"}
    assert kinds - {"special"} <= here
