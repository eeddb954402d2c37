"""Invariants of datatypes and definitions: key, what keeps it, what breaks it; typed from R4."""

from typing import Any

Json = dict[str, Any]

UCUM = "http://unitsofmeasure.org"


def with_value(datatype: str, **members: Any) -> Json:
    """A Patient with an extension whose value is of a datatype."""
    extension = {"url": "http://x", f"value{datatype}": members}
    return {"resourceType": "Patient", "extension": [extension]}


def repeat(**members: Any) -> Json:
    return with_value("Timing", repeat=members)


def trigger(type: str, **members: Any) -> Json:
    return with_value("TriggerDefinition", type=type, **members)


def needing(name: str, **members: Any) -> Json:
    return with_value("DataRequirement", type="Patient", **{name: [members]})


def quantity(datatype: str, code: str = "a", **members: Any) -> Json:
    whole = {"value": 3, "system": UCUM, "code": code, **members}
    return with_value(datatype, **{name: v for name, v in whole.items() if v is not None})


DATA = [{"type": "Patient"}]
DAILY = {"repeat": {"frequency": 1}}

DATATYPES: list[tuple[str, Json, Json]] = [
    ("age-1", quantity("Age"), quantity("Age", system="http://x")),
    ("age-1", quantity("Age", value=None), quantity("Age", value=0)),
    ("age-1", quantity("Age"), with_value("Age", value=3)),
    ("cnt-3", quantity("Count", "1"), quantity("Count", "2")),
    ("cnt-3", quantity("Count", "1"), quantity("Count", "1", value=1.5)),
    ("dis-1", quantity("Distance", "m"), quantity("Distance", system="http://x")),
    ("drt-1", quantity("Duration"), quantity("Duration", value=None)),
    ("drt-1", with_value("Duration", value=3), quantity("Duration", system="http://x")),
    ("drq-1", needing("codeFilter", path="x"), needing("codeFilter", path="x", searchParam="y")),
    ("drq-1", needing("codeFilter", searchParam="x"), needing("codeFilter", code=[{"code": "x"}])),
    ("drq-2", needing("dateFilter", path="x"), needing("dateFilter", valueDateTime="2026")),
    ("exp-1", with_value("Expression", language="text/fhirpath", expression="x"),
              with_value("Expression", language="text/fhirpath")),
    ("sqty-1", with_value("Range", low={"value": 1}),
               with_value("Range", low={"value": 1, "comparator": "<"})),
    ("tim-4", repeat(duration=0, durationUnit="s"), repeat(duration=-1, durationUnit="s")),
    ("tim-5", repeat(period=1.5, periodUnit="s"), repeat(period=-1.5, periodUnit="s")),
    ("tim-6", repeat(period=1, periodUnit="s", periodMax=2), repeat(periodMax=2)),
    ("tim-7", repeat(duration=1, durationUnit="s", durationMax=2), repeat(durationMax=2)),
    ("tim-8", repeat(count=1, countMax=2), repeat(countMax=2)),
    ("tim-9", repeat(offset=30, when=["ACM"]), repeat(offset=30)),
    ("tim-9", repeat(offset=30, when=["HS"]), repeat(offset=30, when=["C"])),
    ("tim-10", repeat(timeOfDay=["10:00:00"]), repeat(timeOfDay=["10:00:00"], when=["HS"])),
    ("trd-1", trigger("data-added", data=DATA),
              trigger("data-added", data=DATA, timingTiming=DAILY)),
    ("trd-2", trigger("data-added", data=DATA, condition={"language": "x", "expression": "y"}),
              trigger("named-event", name="x", condition={"language": "x", "expression": "y"})),
    ("trd-3", trigger("named-event", name="x"), trigger("named-event")),
    ("trd-3", trigger("periodic", timingDate="2026"), trigger("periodic", name="x")),
    ("trd-3", trigger("data-removed", data=DATA), trigger("data-removed", name="x")),
]  # fmt: skip


def element(**members: Any) -> Json:
    """A StructureDefinition with an element of these members."""
    return {
        "resourceType": "StructureDefinition", "url": "http://x", "name": "X", "status": "draft",
        "kind": "resource", "abstract": False, "type": "Patient",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
        "derivation": "constraint",
        "differential": {"element": [{"path": "Patient.x", **members}]},
    }  # fmt: skip


def element_of(*types: Json, **members: Any) -> Json:
    return element(type=list(types), **members)


def value_set(**include: Any) -> Json:
    return {"resourceType": "ValueSet", "status": "draft", "compose": {"include": [include]}}


def expanded(**contains: Any) -> Json:
    expansion = {"timestamp": "2026", "contains": [contains]}
    return {"resourceType": "ValueSet", "status": "draft", "expansion": expansion}


def code_system(*concepts: Json) -> Json:
    return {
        "resourceType": "CodeSystem", "status": "draft", "content": "complete",
        "concept": list(concepts),
    }  # fmt: skip


def search_parameter(type: str, **members: Any) -> Json:
    return {
        "resourceType": "SearchParameter", "url": "http://x", "name": "x", "status": "draft",
        "description": "x", "code": "x", "base": ["Patient"], "type": type, **members,
    }  # fmt: skip


STRING = {"code": "string"}
REFERENCE = {"code": "Reference", "targetProfile": ["http://x"]}
BOUND = {"strength": "required", "valueSet": "http://x"}
RULE = {"key": "x-1", "severity": "error", "human": "x"}
FILTER = {"property": "concept", "op": "is-a", "value": "x"}

DEFINITIONS: list[tuple[str, Json, Json]] = [
    ("csd-1", code_system({"code": "a", "concept": [{"code": "b"}]}),
              code_system({"code": "a", "concept": [{"code": "a"}]})),
    ("eld-1", element(slicing={"rules": "open", "description": "x"}),
              element(slicing={"rules": "open"})),
    ("eld-2", element(min=1, max="2"), element(min=3, max="2")),
    ("eld-3", element(max="*"), element(max="many")),
    ("eld-4", element_of({**REFERENCE, "aggregation": ["contained"]}),
              element_of({**STRING, "aggregation": ["contained"]})),
    ("eld-5", element(contentReference="#Patient.y"),
              element_of(STRING, contentReference="#Patient.y")),
    ("eld-6", element_of(STRING, fixedString="x"),
              element_of(STRING, {"code": "code"}, fixedString="x")),
    ("eld-7", element_of(STRING, patternString="x"),
              element_of(STRING, {"code": "code"}, patternString="x")),
    ("eld-8", element(fixedString="x"), element(fixedString="x", patternString="x")),
    ("eld-11", element_of(STRING, binding=BOUND), element_of({"code": "date"}, binding=BOUND)),
    ("eld-12", element(binding=BOUND), element(binding={**BOUND, "valueSet": "x"})),
    ("eld-13", element_of(STRING, {"code": "code"}), element_of(STRING, STRING)),
    ("eld-14", element(constraint=[RULE]), element(constraint=[RULE, RULE])),
    ("eld-15", element(meaningWhenMissing="x"),
               element(meaningWhenMissing="x", defaultValueString="x")),
    ("eld-16", element(sliceName="a/b-c"), element(sliceName="a b")),
    ("eld-17", element_of(REFERENCE), element_of({**STRING, "targetProfile": ["http://x"]})),
    ("eld-18", element(isModifier=True, isModifierReason="x"), element(isModifier=True)),
    ("eld-19", element(path="Patient.x[x]"), element(path="Patient.x y")),
    ("eld-22", element(sliceName="x", sliceIsConstraining=True), element(sliceIsConstraining=True)),
    ("spd-1", search_parameter("token", xpath="x", xpathUsage="normal"),
              search_parameter("token", xpath="x")),
    ("spd-2", search_parameter("reference", chain=["x"]), search_parameter("token", chain=["x"])),
    ("vsd-1", value_set(system="http://x"), value_set(version="1")),
    ("vsd-2", value_set(system="http://x", filter=[FILTER]),
              value_set(valueSet=["http://x"], filter=[FILTER])),
    ("vsd-3", value_set(system="http://x", concept=[{"code": "x"}]),
              value_set(system="http://x", concept=[{"code": "x"}], filter=[FILTER])),
    ("vsd-6", expanded(display="x", abstract=True), expanded(abstract=True)),
    ("vsd-9", expanded(system="http://x", code="x"), expanded(display="x")),
    ("vsd-10", expanded(system="http://x", code="x"), expanded(code="x")),
]  # fmt: skip
