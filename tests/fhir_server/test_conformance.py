"""Profiles that are claimed: warned of by default, binding where the operator says so."""

from typing import Any

import httpx
import pytest

from fhir_server import settings
from fhir_server.access.principal import Principal
from fhir_server.conformance import binding
from fhir_server.context import RequestContext
from fhir_server.store.surroundings import Hooks
from resources.errors import Unprocessable
from tests.build import a_patient, a_study, an_organization
from tests.server import Server

IMR_STUDY = "https://profiles.ihe.net/RAD/IMR/StructureDefinition/imr-imagingstudy"
SYSTEM = RequestContext(Principal.system("test"), "create")
SOMEBODY = RequestContext(
    Principal("Client/x", "lead", "application", Principal.system("").scopes), "create"
)


def test_a_claim_that_is_broken_is_refused_with_all_that_is_missing() -> None:
    rule = binding(Hooks()).rules["ImagingStudy"]
    with pytest.raises(Unprocessable) as refusal:
        rule(None, a_study(meta={"profile": [IMR_STUDY]}), SOMEBODY)
    assert {issue.at for issue in refusal.value.issues} >= {
        "ImagingStudy.endpoint", "ImagingStudy.started", "ImagingStudy.modality",
    }  # fmt: skip


def test_a_claim_that_nobody_can_judge_is_refused() -> None:
    rule = binding(Hooks()).rules["Patient"]
    with pytest.raises(Unprocessable):
        rule(None, a_patient(meta={"profile": ["http://example.org/mine"]}), SOMEBODY)


def test_what_claims_nothing_and_what_the_server_writes_passes() -> None:
    rule = binding(Hooks()).rules["ImagingStudy"]
    rule(None, a_study(), SOMEBODY)
    rule(None, a_study(meta={"profile": [IMR_STUDY]}), SYSTEM)


def test_the_rule_of_the_type_is_still_asked() -> None:
    seen: list[Any] = []
    hooks = Hooks(rules={"Patient": lambda before, after, context: seen.append(after)})
    binding(hooks).rules["Patient"](None, a_patient(), SOMEBODY)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("chosen", "binds"),
    [({}, False), ({"validation": "strict"}, True), ({"rules": "strict"}, True)],
)
def test_profiles_bind_where_a_setting_says_so(chosen: dict[str, str], binds: bool) -> None:
    assert settings.read(**chosen).profiles_bind is binds


@pytest.mark.standard("FHIR http Prefer return=OperationOutcome")
def test_a_broken_claim_is_stored_and_warned_of(server: Server) -> None:
    client: httpx.Client = server.client()
    client.put("/Organization/lead", json=an_organization())
    client.put("/Patient/p1", json=a_patient())
    study = a_study(id=None, meta={"profile": [IMR_STUDY]})
    answer = client.post("/ImagingStudy", json=study, headers={"Prefer": "return=OperationOutcome"})
    assert answer.status_code == 201, answer.text
    issues = answer.json()["issue"]
    assert {each["severity"] for each in issues} == {"information", "warning"}
    assert ["ImagingStudy.endpoint"] in [each.get("expression") for each in issues]
