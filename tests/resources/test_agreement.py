"""Agreements, read from affiliations."""

from typing import Any

import pytest

from resources import codes
from resources.agreement import AFFILIATION_CODE, Agreement, Share, read, share


def an_affiliation(code: str = "reports-for", **members: Any) -> dict[str, Any]:
    return {
        "resourceType": "OrganizationAffiliation",
        "active": True,
        "organization": {"reference": "Organization/lead"},
        "participatingOrganization": {"reference": "Organization/other"},
        "code": [{"coding": [{"system": AFFILIATION_CODE, "code": code}]}],
        **members,
    }


def agreed(*affiliations: dict[str, Any], at: str = "2026-11-24T12:00:00Z") -> Agreement:
    return read("Organization/lead", affiliations, at)


def term(name: str, granted: bool = True) -> dict[str, Any]:
    return {"url": f"{codes.OURS}/{name}", "valueBoolean": granted}


def test_an_affiliation_names_who_plays_a_part() -> None:
    agreement = agreed(an_affiliation())

    assert [one.organization for one in agreement.partners["reporting"]] == ["Organization/other"]


def test_a_term_is_granted_in_so_many_words_or_not_at_all() -> None:
    granted = an_affiliation(extension=[term("automatic-acceptance")])
    refused = an_affiliation(extension=[term("automatic-acceptance", granted=False)])
    question = ("reporting", "Organization/other", "automatic_acceptance")

    assert agreed(granted).permits(*question)
    assert not agreed(refused).permits(*question)
    assert not agreed(an_affiliation()).permits(*question)


def test_affiliations_that_ended_or_belong_to_others_say_nothing() -> None:
    ended = an_affiliation(active=False)
    others = an_affiliation(organization={"reference": "Organization/third"})

    assert agreed(ended, others).partners == {}


@pytest.mark.parametrize(
    ("period", "holds"),
    [
        ({"start": "2026-11-24", "end": "2026-11-24"}, True),
        ({"start": "2026", "end": "2026-12"}, True),
        ({"end": "2026-11-24T11:59:58Z"}, False),
        ({"end": "2026-11-24T14:00:00+01:00"}, True),
        ({"start": "2026-11-24T12:00:01Z"}, False),
        ({"end": "2025"}, False),
        ({"end": "9999"}, True),
    ],
)
def test_an_agreement_is_in_force_in_its_period(period: dict[str, str], holds: bool) -> None:
    assert bool(agreed(an_affiliation(period=period)).partners) is holds


def test_only_the_code_that_says_so_shares_what_an_organisation_creates() -> None:
    assert share(an_affiliation()) is None
    assert share(an_affiliation("shares-with")) == Share("lead", "other", "", "")
    assert share({**an_affiliation("shares-with"), "active": False}) is None
    other = [{"coding": [{"system": "urn:x", "code": "shares-with"}]}]
    assert share(an_affiliation() | {"code": other}) is None


@pytest.mark.parametrize("name", ["network", "location", "healthcareService", "specialty"])
def test_what_is_said_of_a_part_shares_nothing(name: str) -> None:
    assert share(an_affiliation("shares-with", **{name: [{"text": "x"}]})) is None


def test_an_organisation_of_another_server_shares_nothing() -> None:
    elsewhere = {"reference": "https://elsewhere.example/fhir/Organization/lead"}

    assert share(an_affiliation("shares-with", organization=elsewhere)) is None
    assert share(an_affiliation("shares-with", organization={"display": "lead"})) is None
