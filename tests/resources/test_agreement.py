"""Agreements, read from affiliations."""

from typing import Any

from resources import codes
from resources.agreement import AFFILIATION_CODE, read


def an_affiliation(code: str = "reports-for", **members: Any) -> dict[str, Any]:
    return {
        "resourceType": "OrganizationAffiliation",
        "active": True,
        "organization": {"reference": "Organization/lead"},
        "participatingOrganization": {"reference": "Organization/other"},
        "code": [{"coding": [{"system": AFFILIATION_CODE, "code": code}]}],
        **members,
    }


def term(name: str, granted: bool = True) -> dict[str, Any]:
    return {"url": f"{codes.OURS}/{name}", "valueBoolean": granted}


def test_an_affiliation_names_who_plays_a_part() -> None:
    agreement = read("Organization/lead", [an_affiliation()])

    assert [one.organization for one in agreement.partners["reporting"]] == ["Organization/other"]


def test_a_term_is_granted_in_so_many_words_or_not_at_all() -> None:
    granted = an_affiliation(extension=[term("automatic-acceptance")])
    refused = an_affiliation(extension=[term("automatic-acceptance", granted=False)])
    question = ("reporting", "Organization/other", "automatic_acceptance")

    assert read("Organization/lead", [granted]).permits(*question)
    assert not read("Organization/lead", [refused]).permits(*question)
    assert not read("Organization/lead", [an_affiliation()]).permits(*question)


def test_affiliations_that_ended_or_belong_to_others_say_nothing() -> None:
    ended = an_affiliation(active=False)
    others = an_affiliation(organization={"reference": "Organization/third"})

    assert read("Organization/lead", [ended, others]).partners == {}
