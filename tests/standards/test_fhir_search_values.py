"""FHIR R4 search, number, quantity, composite and special: each row is typed in from the standard.

The laws of the prefixes are checked against a model that knows nothing of SQL or of significant
figures as text: it counts with fractions.
"""

import itertools
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.postgres.database import Database
from fhir_server.search import number
from resources.errors import Invalid
from tests.fhir_server.search.rows import ids, put, search

pytestmark = pytest.mark.anyio

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"

_ids = itertools.count(1)


async def matches(database: Database, resource: dict[str, Any], text: str) -> bool:
    """Tell whether a search finds this one resource."""
    if "id" not in resource:
        resource = {**resource, "id": f"v{next(_ids)}"}
        await put(database, resource)
    return resource["id"] in ids(await search(database, resource["resourceType"], text))


def risk(probability: float) -> dict[str, Any]:
    return {"resourceType": "RiskAssessment", "prediction": [{"probabilityDecimal": probability}]}


def observed(**value: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "code": {"coding": [{"system": LOINC, "code": "c"}]},
            **value}  # fmt: skip


def quantity(value: float, **more: str) -> dict[str, Any]:
    return observed(valueQuantity={"value": value, **more})


NUMBERS = [
    # "Values that equal 100, to 3 significant figures precision: [99.5 ... 100.5)"
    ("100", 99.5, True),
    ("100", 100.49, True),
    ("100", 100.5, False),
    ("100", 99.49, False),
    # "to 5 significant figures: [99.995 ... 100.005)"
    ("100.00", 99.995, True),
    ("100.00", 100.005, False),
    ("100.00", 99.99, False),
    # "1e2: to 1 significant figures: [95 ... 105)"
    ("1e2", 95, True),
    ("1e2", 104.9, True),
    ("1e2", 105, False),
    # "100 and 1.00e2 both have the same number of significant digits - three"
    ("1.00e2", 99.5, True),
    ("1.00e2", 100.5, False),
    # "Values that are less than exactly 100" and so on
    ("lt100", 99.999, True),
    ("lt100", 100, False),
    ("le100", 100, True),
    ("le100", 100.001, False),
    ("gt100", 100.001, True),
    ("gt100", 100, False),
    ("ge100", 100, True),
    ("ge100", 99.999, False),
    ("ne100", 100.4, False),
    ("ne100", 101, True),
    ("sa100", 100.1, True),
    ("sa100", 100, False),
    ("eb100", 99.9, True),
    ("eb100", 100, False),
    ("ap100", 91, True),
    ("ap100", 89, False),
    ("gt8e-1", 0.81, True),
    ("gt0.8", 0.8, False),
    ("-5", -5.4, True),
    ("0.8,0.9", 0.9, True),
]


@pytest.mark.standard("FHIR search number")
async def test_a_number_is_as_precise_as_it_is_written(database: Database) -> None:
    wrong = [
        (asked, value)
        for asked, value, expected in NUMBERS
        if await matches(database, risk(value), f"probability={asked}&_count=1000") is not expected
    ]

    assert wrong == []


@pytest.mark.standard("FHIR search number")
def test_the_range_of_a_long_number_is_exact() -> None:
    long = number.read("1234567890123456789012345678901234567890.25")

    assert long.low == Decimal("1234567890123456789012345678901234567890.245")
    assert str(long.high) == "1234567890123456789012345678901234567890.255"


@pytest.mark.standard("FHIR search number")
@pytest.mark.parametrize("text", ["", "x", "gt", "1e", "1.", "0x1", "1e9999", "9" * 70, "nan", "²"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        number.read(text, "probability")


def model(prefix: str, whole: int, places: int, low: Fraction, high: Fraction) -> bool:
    """FHIR R4 search, "Prefixes", word for word; asked for is whole * 10^-places."""
    exact = Fraction(whole, 10**places)
    half = Fraction(1, 2 * 10**places)
    first, end = exact - half, exact + half
    if prefix == "ap":
        slack = max(half, abs(exact) / 10)
        return low <= exact + slack and exact - slack <= high
    contains = first <= low and high < end
    exactly_contains = low == exact == high
    return {
        "eq": contains,  # the range of the search value fully contains the range of the target
        "ne": not contains,
        "gt": high > exact,  # the range above the search value intersects the target
        "lt": low < exact,
        "ge": high > exact or exactly_contains or low >= exact,
        "le": low < exact or exactly_contains or high <= exact,
        "sa": low > exact,
        "eb": high < exact,
    }[prefix]


@pytest.mark.standard("FHIR search prefixes")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    prefix=st.sampled_from(sorted(number.PREFIXES)),
    whole=st.integers(-300, 300),
    places=st.integers(0, 2),
    ends=st.tuples(st.integers(-3000, 3000), st.integers(-3000, 3000)),
    is_range=st.booleans(),
)
async def test_prefixes_agree_with_a_model_in_fractions(
    database: Database, prefix: str, whole: int, places: int, ends: tuple[int, int], is_range: bool
) -> None:
    low, high = sorted(ends) if is_range else (ends[0], ends[0])
    asked = f"{prefix}{Decimal(whole).scaleb(-places):f}"
    onset: dict[str, Any] = {"onsetAge": {"value": low / 100}}
    if is_range:
        onset = {"onsetRange": {"low": {"value": low / 100}, "high": {"value": high / 100}}}
    expected = model(prefix, whole, places, Fraction(low, 100), Fraction(high, 100))

    condition = {"resourceType": "Condition", **onset}
    assert await matches(database, condition, f"onset-age={asked}&_count=1000") is expected


MG = {"unit": "milligram", "system": UCUM, "code": "mg"}
QUANTITIES = [
    ("5.4|http://unitsofmeasure.org|mg", quantity(5.4, **MG), True),
    ("5.4|http://unitsofmeasure.org|mg", quantity(5.449, **MG), True),
    ("5.4|http://unitsofmeasure.org|mg", quantity(5.5, **MG), False),
    ("5.4|http://unitsofmeasure.org|g", quantity(5.4, **MG), False),
    ("5.4|http://example.org|mg", quantity(5.4, **MG), False),
    ("5.40e-3|http://unitsofmeasure.org|g", quantity(0.0054, system=UCUM, code="g"), True),
    # "the quantity value 5.4 (+/-0.05) where the unit - either the code or the stated human unit"
    ("5.4||mg", quantity(5.4, **MG), True),
    ("5.4||milligram", quantity(5.4, **MG), True),
    ("5.4||g", quantity(5.4, **MG), False),
    ("5.4", quantity(5.4, **MG), True),
    ("5.4", quantity(5.4), True),
    ("le5.4|http://unitsofmeasure.org|mg", quantity(5.4, **MG), True),
    ("lt5.4|http://unitsofmeasure.org|mg", quantity(5.4, **MG), False),
    ("ap5.4|http://unitsofmeasure.org|mg", quantity(5.0, **MG), True),
    # a comparator makes the value a range that is open at one end
    ("gt5", quantity(9, comparator=">"), True),
    ("gt9", quantity(9, comparator="<"), False),
    ("lt1", quantity(9, comparator="<"), True),
    ("9", quantity(9, comparator="<"), False),
    # of samples, the limits between which they lie
    ("gt11", observed(valueSampledData={"origin": {"value": 10}, "period": 1, "dimensions": 1,
                                        "lowerLimit": -1, "upperLimit": 2}), True),
    ("gt13", observed(valueSampledData={"origin": {"value": 10}, "period": 1, "dimensions": 1,
                                        "lowerLimit": -1, "upperLimit": 2}), False),
]  # fmt: skip


@pytest.mark.standard("FHIR search quantity")
async def test_a_quantity_is_compared_in_its_unit(database: Database) -> None:
    wrong = [
        (asked, resource)
        for asked, resource, expected in QUANTITIES
        if await matches(database, resource, f"value-quantity={asked}&_count=1000") is not expected
    ]

    assert wrong == []


@pytest.mark.standard("FHIR search quantity")
async def test_money_is_a_quantity_of_its_currency(database: Database) -> None:
    invoice = {"resourceType": "Invoice", "totalNet": {"value": 40.22, "currency": "EUR"}}

    assert await matches(database, invoice, "totalnet=40.22||EUR")
    assert await matches(database, invoice, "totalnet=40.22|urn:iso:std:iso:4217|EUR")
    assert not await matches(database, invoice, "totalnet=40.22||GBP")


PRESSURE = {
    "resourceType": "Observation", "id": "bp",
    "code": {"coding": [{"system": LOINC, "code": "85354-9"}]},
    "effectiveDateTime": "2026-01-01",
    "component": [
        {"code": {"coding": [{"system": LOINC, "code": "8480-6"}]},
         "valueQuantity": {"value": 107, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}},
        {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]},
         "valueQuantity": {"value": 60, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}},
    ],
}  # fmt: skip
COMPOSITES = [
    ("component-code-value-quantity=http://loinc.org|8480-6$lt110", True),
    ("component-code-value-quantity=8480-6$107||mmHg", True),
    ("component-code-value-quantity=8480-6$107|http://unitsofmeasure.org|mm[Hg]", True),
    # "the values must be of one component": the diastolic one is 60
    ("component-code-value-quantity=http://loinc.org|8480-6$lt70", False),
    ("component-code-value-quantity=http://loinc.org|8462-4$lt70", True),
    ("component-code-value-quantity=8462-4$gt70,8480-6$gt70", True),
    ("combo-code-value-quantity=8462-4$60", True),
    ("code-value-quantity=8462-4$60", False),
    ("component-code-value-quantity:missing=false", True),
    ("code-value-quantity:missing=true", True),
]


@pytest.mark.standard("FHIR search composite")
@pytest.mark.parametrize(("asked", "expected"), COMPOSITES)
async def test_the_parts_of_a_composite_are_of_one_element(
    database: Database, asked: str, expected: bool
) -> None:
    await put(database, PRESSURE)

    assert await matches(database, PRESSURE, asked) is expected


@pytest.mark.standard("FHIR search composite")
async def test_composites_of_every_kind_of_part(database: Database) -> None:
    coded = observed(id="a", valueCodeableConcept={"coding": [{"system": "s", "code": "v"}]})
    dated = observed(id="b", valueDateTime="2026-03-01")
    said = observed(id="c", valueString="Broken left arm")
    document = {"resourceType": "DocumentReference", "id": "d", "relatesTo": [
        {"code": "replaces", "target": {"reference": "DocumentReference/e"}}]}  # fmt: skip
    genes = {"resourceType": "MolecularSequence", "id": "g",
             "referenceSeq": {"chromosome": {"coding": [{"code": "1"}]},
                              "windowStart": 10, "windowEnd": 20},
             "variant": [{"start": 12, "end": 13}]}  # fmt: skip
    await put(database, coded, dated, said, document, genes)

    for resource, asked, expected in (
        (coded, "code-value-concept=c$v", True),
        (coded, "code-value-concept=http://loinc.org|c$s|v", True),
        (coded, "code-value-concept=d$v", False),
        (dated, "code-value-date=c$ge2026", True),
        (dated, "code-value-date=c$2027", False),
        (said, "code-value-string=c$broken LEFT", True),
        (said, "code-value-string=c$left", False),
        (document, "relationship=replaces$DocumentReference/e", True),
        (document, "relationship=signs$DocumentReference/e", False),
        (genes, "chromosome-window-coordinate=1$gt5$lt30", True),
        (genes, "chromosome-window-coordinate=1$gt5$lt15", False),
        (genes, "chromosome-variant-coordinate=1$12$13", True),
        (genes, "chromosome-variant-coordinate=2$12$13", False),
    ):
        assert await matches(database, resource, asked) is expected, asked


@pytest.mark.standard("FHIR search composite")
@pytest.mark.parametrize("asked", ["8480-6", "8480-6$", "8480-6$5$6", "8480-6$five"])
async def test_a_composite_has_all_its_parts(database: Database, asked: str) -> None:
    with pytest.raises(Invalid):
        await search(database, "Observation", f"code-value-quantity={asked}")


# Distances from Charing Cross, off a map: St Pancras 2.4 km, Heathrow 23 km, Birmingham 162 km.
PLACES = {"pancras": (51.5322, -0.1276), "heathrow": (51.4700, -0.4543), "brum": (52.4796, -1.9026)}
NEAR = [
    ("51.5073|-0.1276|3|km", {"pancras"}),
    ("51.5073|-0.1276|2|km", set()),
    ("51.5073|-0.1276|30|km", {"pancras", "heathrow"}),
    ("51.5073|-0.1276|30000|m", {"pancras", "heathrow"}),
    ("51.5073|-0.1276|15|[mi_us]", {"pancras", "heathrow"}),
    ("51.5073|-0.1276", {"pancras"}),
    ("51.5073|-0.1276|200", {"pancras", "heathrow", "brum"}),
    ("-51.5073|-0.1276|200", set()),
]


@pytest.mark.standard("FHIR location near")
async def test_places_are_found_by_how_near_they_are(database: Database) -> None:
    await put(database, *(
        {"resourceType": "Location", "id": id, "position": {"latitude": x, "longitude": y}}
        for id, (x, y) in PLACES.items()
    ))  # fmt: skip

    for asked, expected in NEAR:
        assert set(ids(await search(database, "Location", f"near={asked}"))) == expected, asked


@pytest.mark.standard("FHIR location near")
@pytest.mark.parametrize(
    "asked", ["51", "x|y", "91|0", "0|181", "1|1|-1|km", "1|1|1|parsec", "1|nan"]
)
async def test_what_is_no_place_is_refused(database: Database, asked: str) -> None:
    with pytest.raises(Invalid):
        await search(database, "Location", f"near={asked}")


@pytest.mark.standard("FHIR request-priority")
async def test_priority_rank_puts_the_most_urgent_first(database: Database) -> None:
    given = {"a": "routine", "b": "stat", "c": None, "d": "urgent", "e": "asap"}
    for id, priority in given.items():
        task = {"resourceType": "Task", "id": id, "status": "ready"}
        await put(database, task if priority is None else task | {"priority": priority})

    assert ids(await search(database, "Task", "_sort=priority-rank,_id")) == list("bedac")
    assert ids(await search(database, "Task", "_sort=-priority-rank,_id")) == list("acdeb")
    assert ids(await search(database, "Task", "priority-rank=lt3&_sort=_id")) == ["b", "e"]
    assert ids(await search(database, "Task", "priority-rank=1,3&_sort=_id")) == ["b", "d"]
    assert len(ids(await search(database, "Task", "priority-rank:missing=false"))) == 5


async def test_numbers_and_quantities_can_be_sorted_by(database: Database) -> None:
    for n, value in enumerate([3.5, -2, 1000000.25, 0.000002]):
        await put(database, {**quantity(value), "id": f"q{n}"})
    await put(database, observed(id="none"))

    found = ids(await search(database, "Observation", "_sort=value-quantity"))
    assert found == ["q1", "q3", "q0", "q2", "none"]
