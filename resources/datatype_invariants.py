"""The invariants of the datatypes of R4.

FHIR R4 Datatypes; Metadata Types. The rows are read like those of `resources.invariants`. A
SimpleQuantity is known by where it stands, as its JSON is that of a Quantity.
"""

from typing import Any, Final

from resources.predicates import (
    Element,
    Holds,
    Invariant,
    chosen,
    exists,
    is_positive,
    needs,
    not_both,
    ordered,
)

UCUM: Final = "http://unitsofmeasure.org"


def _low_is_not_above_high(a_range: Element) -> bool:
    low, high = (a_range.get(end, {}) for end in ("low", "high"))
    if low.get("unit") != high.get("unit") or not {"value"} <= low.keys() & high.keys():
        return True
    return bool(low["value"] <= high["value"])


def _in_ucum(element: Element) -> bool:
    has_code = exists(element, "code") or not exists(element, "value")
    return has_code and element.get("system", UCUM) == UCUM


def _is_an_age(element: Element) -> bool:
    value = element.get("value", 1)
    return _in_ucum(element) and (not isinstance(value, int | float) or value > 0)


def _is_a_count(element: Element) -> bool:
    value: Any = element.get("value", 1)
    return _in_ucum(element) and element.get("code", "1") == "1" and not isinstance(value, float)


def _is_a_duration(element: Element) -> bool:
    return not exists(element, "code") or (
        element.get("system") == UCUM and exists(element, "value")
    )


def _simple(*names: str) -> Holds:
    """What is a SimpleQuantity has no comparator."""
    return lambda element: not any("comparator" in element.get(name, {}) for name in names)


def _offset_has_its_event(repeat: Element) -> bool:
    events = repeat.get("when", ())
    return not exists(repeat, "offset") or (
        bool(events) and not (len(events) == 1 and events[0] in ("C", "CM", "CD", "CV"))
    )


def _one_of(name: str, other: str) -> Holds:
    return lambda element: exists(element, name) != exists(element, other)


def _has_what_its_type_needs(trigger: Element) -> bool:
    kind = str(trigger.get("type", ""))
    if kind == "named-event":
        return exists(trigger, "name")
    if kind == "periodic":
        return chosen(trigger, "timing")
    return not kind.startswith("data-") or exists(trigger, "data")


OF_DATATYPES: Final = (
    Invariant("Age", "age-1", "There SHALL be a code if there is a value; the system is UCUM and "
              "the value positive", _is_an_age),
    Invariant("Attachment", "att-1", "If the Attachment has data, it SHALL have a contentType",
              needs("data", "contentType")),
    Invariant("Count", "cnt-3", "There SHALL be a code with a value of 1 if there is a value; the "
              "system is UCUM and the value a whole number", _is_a_count),
    Invariant("ContactPoint", "cpt-2", "A system is required if a value is provided",
              needs("value", "system")),
    Invariant("DataRequirement.codeFilter", "drq-1",
              "Either a path or a searchParam must be provided, but not both",
              _one_of("path", "searchParam")),
    Invariant("DataRequirement.dateFilter", "drq-2",
              "Either a path or a searchParam must be provided, but not both",
              _one_of("path", "searchParam")),
    Invariant("Distance", "dis-1", "There SHALL be a code if there is a value; the system is UCUM",
              _in_ucum),
    Invariant("Duration", "drt-1", "A code is of UCUM and has a value", _is_a_duration),
    Invariant("Expression", "exp-1", "An expression or a reference must be provided",
              lambda e: exists(e, "expression") or exists(e, "reference")),
    Invariant("Extension", "ext-1", "Must have either extensions or value[x], not both",
              lambda e: ("extension" in e) != chosen(e, "value")),
    Invariant("Period", "per-1", "If present, start SHALL have a lower value than end",
              ordered("start", "end")),
    Invariant("Quantity", "qty-3", "If a code for the unit is present, the system SHALL be too",
              needs("code", "system")),
    Invariant("Range", "rng-2", "If present, low SHALL have a lower value than high",
              _low_is_not_above_high),
    Invariant("Range", "sqty-1", "The comparator is not used on a SimpleQuantity",
              _simple("low", "high")),
    Invariant("Ratio", "rat-1", "Numerator and denominator SHALL both be present or both absent",
              lambda e: ("numerator" in e) == ("denominator" in e)
              and ("numerator" in e or "extension" in e)),
    Invariant("Timing.repeat", "tim-1", "If there's a duration, there needs to be duration units",
              needs("duration", "durationUnit")),
    Invariant("Timing.repeat", "tim-2", "If there's a period, there needs to be period units",
              needs("period", "periodUnit")),
    Invariant("Timing.repeat", "tim-4", "duration SHALL be a non-negative value",
              lambda e: is_positive(e, "duration")),
    Invariant("Timing.repeat", "tim-5", "period SHALL be a non-negative value",
              lambda e: is_positive(e, "period")),
    Invariant("Timing.repeat", "tim-6", "If there's a periodMax, there must be a period",
              needs("periodMax", "period")),
    Invariant("Timing.repeat", "tim-7", "If there's a durationMax, there must be a duration",
              needs("durationMax", "duration")),
    Invariant("Timing.repeat", "tim-8", "If there's a countMax, there must be a count",
              needs("countMax", "count")),
    Invariant("Timing.repeat", "tim-9",
              "If there's an offset, there must be a when (and not C, CM, CD, CV)",
              _offset_has_its_event),
    Invariant("Timing.repeat", "tim-10",
              "If there's a timeOfDay, there cannot be a when, or vice versa",
              not_both("timeOfDay", "when")),
    Invariant("TriggerDefinition", "trd-1", "Either timing, or a data requirement, but not both",
              lambda e: not (exists(e, "data") and chosen(e, "timing"))),
    Invariant("TriggerDefinition", "trd-2", "A condition only if there is a data requirement",
              needs("condition", "data")),
    Invariant("TriggerDefinition", "trd-3", "A named event requires a name, a periodic event "
              "requires timing, and a data event requires data", _has_what_its_type_needs),
)  # fmt: skip
