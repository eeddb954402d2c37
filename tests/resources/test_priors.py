"""Which older studies matter: the rule table of priors, and a site's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import codes, priors
from resources.errors import Invalid
from tests.build import a_report, a_request, a_step, a_study

pytestmark = pytest.mark.requirement("R003.2")

Json = dict[str, Any]

SITES = {
    "head": {"system": codes.SNOMED, "code": "69536005", "display": "Head"},
    "brain": {"system": codes.SNOMED, "code": "12738006", "display": "Brain"},
    "chest": {"system": codes.SNOMED, "code": "816094009", "display": "Chest"},
    "words": {"display": "SKULL"},
    "none": None,
}


def older(id: str, modality: str, site: str, started: str, **members: Any) -> Json:
    study = a_study(id, uid=f"1.2.{sum(map(ord, id))}", started=started, **members)
    study["series"][0]["modality"]["code"] = modality
    if SITES[site]:
        study["series"][0]["bodySite"] = SITES[site]
    return study


def ids(found: list[Any]) -> list[str]:
    return [one["id"] for one in found]


def test_the_newest_three_of_the_same_region_or_modality_are_relevant() -> None:
    record = [
        older("mr-head", "MR", "head", "2020-01-01"),
        older("ct-chest", "CT", "chest", "2023-01-01"),
        older("cr-chest", "CR", "chest", "2025-01-01"),
        older("mr-brain", "MR", "brain", "2022-01-01"),
        older("cr-skull", "CR", "words", "2021-01-01"),
    ]

    found = priors.relevant(a_request(), record)

    assert ids(found) == ["ct-chest", "mr-brain", "cr-skull"]


def test_what_the_request_cites_comes_first_and_is_not_counted() -> None:
    record = [
        *(older(f"ct{year}", "CT", "head", f"{year}-01-01") for year in range(2020, 2025)),
        older("foot", "CR", "none", "2001-01-01"),
        older("hand", "CR", "none", "2002-01-01"),
        older("asked-for", "CR", "none", "2003-01-01", request="sr0"),
        a_report("dr9", request="sr9", study="hand"),
    ]
    cites = [{"reference": "ImagingStudy/foot"}, {"reference": "ServiceRequest/sr0"}]
    reason = [{"reference": "DiagnosticReport/dr9/_history/2"}]

    found = priors.relevant(a_request(supportingInfo=cites, reasonReference=reason), record)

    assert ids(found) == ["asked-for", "hand", "foot", "ct2024", "ct2023", "ct2022"]


def test_what_belongs_to_the_request_or_is_not_there_is_no_prior() -> None:
    record = [
        older("own", "CT", "head", "2026-11-24", request="sr1"),
        older("planned", "CT", "head", "2026-11-24", status="registered"),
        older("wrong", "CT", "head", "2026-11-23", status="entered-in-error"),
        older("prior", "CT", "head", "2020-01-01"),
    ]

    assert ids(priors.relevant(a_request(), record)) == ["prior"]
    assert ids(priors.relevant(record[0], record)) == ["prior"]


def test_the_priors_of_a_step_are_those_of_its_request_and_study() -> None:
    own = older("own", "MR", "none", "2026-11-24", request="sr1")
    record = [
        a_request(supportingInfo=[{"reference": "ImagingStudy/foot"}]),
        own,
        older("foot", "CR", "none", "2001-01-01"),
        older("mr", "MR", "chest", "2001-01-01"),
        older("cr", "CR", "chest", "2001-01-01"),
    ]

    assert ids(priors.relevant(a_step("report"), record)) == ["foot", "mr"]
    assert ids(priors.relevant(own, record)) == ["foot", "mr"]


def test_the_priors_of_a_review_are_not_the_study_under_review() -> None:
    record = [older("seen", "CT", "head", "2026-01-01"), older("older", "CT", "head", "2020-01-01")]
    step = a_step("review-informal", focus={"reference": "ImagingStudy/seen"}, basedOn=None)

    assert ids(priors.relevant(step, record)) == ["older"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CT of head", {"head"}),
        ("CT thorax, abdomen and pelvis", {"chest", "abdomen", "pelvis"}),
        ("MRI thoracic spine", {"spine"}),
        ("US renal tract", {"abdomen"}),
        ("Necklace", set()),
    ],
)
def test_the_region_of_a_procedure_is_told_by_its_words(text: str, expected: set[str]) -> None:
    assert priors.regions({"code": {"text": text}}) == expected


def test_a_site_may_have_rules_of_its_own(tmp_path: Path) -> None:
    said = json.loads((Path(priors.__file__).with_suffix(".json")).read_text())
    said["rules"] = [{"name": "same examination", "all": ["region", "modality"], "most": 1}]
    place = tmp_path / "priors.json"
    place.write_text(json.dumps(said))
    record = [
        older("mr-head", "MR", "head", "2025-01-01"),
        older("ct-old", "CT", "head", "2020-01-01"),
        older("ct-new", "CT", "head", "2021-01-01"),
    ]

    assert ids(priors.relevant(a_request(), record, priors.read(place))) == ["ct-new"]


@pytest.mark.parametrize(
    "rule",
    [{"name": "x"}, {"name": "x", "any": ["colour"]}, {"name": "x", "any": ["cited"], "most": 0}],
)
def test_rules_that_mean_nothing_are_refused(tmp_path: Path, rule: Json) -> None:
    place = tmp_path / "priors.json"
    place.write_text(json.dumps({"rules": [rule], "regions": {}, "modalities": {}}))

    with pytest.raises(Invalid):
        priors.read(place)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["CT", "MR", "CR"]),
            st.sampled_from(list(SITES)),
            st.integers(2000, 2025),
        ),
        max_size=12,
    )
)
def test_no_prior_that_is_newer_than_one_taken_is_left_out(
    rows: list[tuple[str, str, int]],
) -> None:
    record = [
        older(f"s{n}", modality, site, f"{year}-06-01")
        for n, (modality, site, year) in enumerate(rows)
    ]

    found = priors.relevant(a_request(), record)

    fits = [one for (m, s, _), one in zip(rows, record, strict=True) if m == "CT" or s in
            ("head", "brain", "words")]  # fmt: skip
    assert len(found) == min(3, len(fits))
    assert (
        sorted((one["started"] for one in found), reverse=True)
        == (sorted((one["started"] for one in fits), reverse=True)[:3])
    )


def test_a_clinic_gets_the_newest_three_and_what_it_cites() -> None:
    record = [older(f"s{year}", "MR", "none", f"{year}-01-01") for year in range(2020, 2025)]
    clinic = {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "booked",
        "supportingInformation": [{"reference": "ImagingStudy/s2020"}],
        "participant": [{"actor": {"reference": "Patient/p1"}}],
    }

    assert ids(priors.relevant(clinic, record)) == ["s2020", "s2024", "s2023", "s2022"]
