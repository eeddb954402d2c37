import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.search import query
from fhir_server.search.date import Range
from fhir_server.search.query import Chain, Criterion, Query, parse
from fhir_server.search.returned import Include
from fhir_server.search.token import Token
from resources.errors import Invalid, Refusal, Unsupported
from tests.fhir_server.search.rows import OWN_BASE, pairs


def read(type: str, text: str, *, strict: bool = True) -> Query:
    return parse(type, pairs(text), strict=strict, own_base=OWN_BASE)


@pytest.mark.standard("FHIR search parameters")
@pytest.mark.parametrize(
    ("type", "text", "criterion"),
    [
        ("Task", "status=ready", Criterion("status", "token", "", (Token(None, "ready"),))),
        (
            "Task",
            "status=ready,s|on-hold",
            Criterion("status", "token", "", (Token(None, "ready"), Token("s", "on-hold"))),
        ),
        ("Task", r"code=a\,b", Criterion("code", "token", "", (Token(None, "a,b"),))),
        ("Task", "status:not=ready", Criterion("status", "token", "not", (Token(None, "ready"),))),
        ("Task", "owner:missing=true", Criterion("owner", "reference", "missing", (True,))),
        ("Task", "patient=p1", Criterion("patient", "reference", "", (("Patient/p1",),))),
        ("Task", "owner:Device=o", Criterion("owner", "reference", "", (("Device/o",),))),
        ("Task", f"focus={OWN_BASE}/List/1", Criterion("focus", "reference", "", (("List/1",),))),
        ("Patient", "family=O'Néill", Criterion("family", "string", "", ("o'neill",))),
        ("Patient", "name:contains=da", Criterion("name", "string", "contains", ("da",))),
        ("Patient", "_profile=http://x", Criterion("_profile", "uri", "", ("http://x",))),
        ("Patient", "_id=a,b", Criterion("_id", "token", "", (Token(None, "a"), Token(None, "b")))),
        (
            "Patient",
            "_lastUpdated=ge1970-01-01",
            Criterion("_lastUpdated", "date", "", (Range("ge", 0, 86_399_999_999),)),
        ),
        (
            "Task",
            "patient.identifier=s|v",
            Criterion("patient", "reference", chain=Chain(
                "Patient", Criterion("identifier", "token", "", (Token("s", "v"),)))),
        ),
        (
            "Task",
            "focus:ImagingStudy.modality=CT",
            Criterion("focus", "reference", chain=Chain(
                "ImagingStudy", Criterion("modality", "token", "", (Token(None, "CT"),)))),
        ),
        (
            "ServiceRequest",
            "subject:Patient.name:contains=x",
            Criterion("subject", "reference", chain=Chain(
                "Patient", Criterion("name", "string", "contains", ("x",)))),
        ),
    ],
)  # fmt: skip
def test_a_criterion_is_read(type: str, text: str, criterion: Criterion) -> None:
    assert read(type, text).criteria == (criterion,)


@pytest.mark.standard("FHIR search parameters")
def test_repeating_a_parameter_asks_for_both() -> None:
    asked = read("Task", "code=a&code=b")

    assert [each.values for each in asked.criteria] == [(Token(None, "a"),), (Token(None, "b"),)]


@pytest.mark.standard("FHIR search managing returned resources")
def test_how_the_result_is_to_look() -> None:
    asked = read(
        "Task",
        "_sort=-authored-on,status&_count=5&_total=none&_include=Task:focus&_include=Task:owner:Device"
        "&_revinclude=Provenance:target&_elements=status&_format=json&_pretty=true&_summary=data",
    )

    assert [(each.code, each.descending) for each in asked.sort] == [
        ("authored-on", True),
        ("status", False),
    ]
    assert (asked.count, asked.total) == (5, "none")
    assert asked.includes == (Include("Task", "focus"), Include("Task", "owner", "Device"))
    assert asked.revincludes == (Include("Provenance", "target"),)
    assert asked.criteria == ()
    assert asked.ignored == ()


def test_a_page_has_twenty_matches_and_never_more_than_a_thousand() -> None:
    assert read("Task", "").count == 20
    assert read("Task", "_count=1001").count == 1000
    assert read("Task", "_count=0").count == 0


def test_a_summary_count_asks_for_no_matches() -> None:
    assert read("Task", "_summary=count").count == 0


@pytest.mark.standard("FHIR search handling errors")
@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("Task", "wings=1"),
        ("Task", "_wings=1"),
        ("Bundle", "_content=x"),
        ("Task", "_has:AuditEvent:entity:agent=x"),
        ("Task", "_has:Provenance:wings:agent=x"),
        ("Task", "_has:Provenance:target:wings=x"),
        ("Task", "_list=$current-allergies"),
        ("Task", "_filter=status eq ready"),
        ("Task", "_type=Patient"),
        ("Task", "_revinclude:iterate=*"),
        ("Task", "_count:iterate=1"),
        ("Task", "_text=x"),
        ("Task", "status="),
        ("Task", "status=,"),
        ("Task", "patient.wings=1"),
        ("Task", "_sort=wings"),
        ("Observation", "_sort=code-value-quantity"),
        ("Task", "_include=Task:wings"),
        ("Task", "_include=Patient:link"),
        ("Task", "_include:recurse=Task:focus"),
        ("Task", "_revinclude=Unicorn:wings"),
        ("Task", "_revinclude=Provenance:target:Patient"),
    ],
)
def test_what_cannot_be_used_is_ignored_or_refused_as_the_client_likes(
    type: str, text: str
) -> None:
    asked = read(type, text, strict=False)

    assert [(each.name, each.value) for each in asked.ignored] == [
        (text.partition("=")[0], text.partition("=")[2])
    ]
    assert asked.ignored[0].why
    assert (asked.criteria, asked.sort, asked.includes, asked.revincludes) == ((), (), (), ())
    with pytest.raises(Invalid):
        read(type, text)


@pytest.mark.standard("FHIR search modifiers")
@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("Task", "status:wings=ready"),
        ("Task", "status:exact=ready"),
        ("Task", "status:Patient=ready"),
        ("Task", "owner:not=Organization/1"),
        ("Task", "owner:Task.code=x"),
        ("Task", "patient:Group=g"),
        ("Task", "authored-on:not=2026"),
        ("Task", "owner:missing=yes"),
        ("Task", "status.x=1"),
        ("Task", "_id:not=1"),
    ],
)
def test_a_modifier_that_cannot_be_is_never_ignored(type: str, text: str) -> None:
    with pytest.raises(Invalid):
        read(type, text, strict=False)


@pytest.mark.standard("FHIR search modifiers")
@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("Task", "owner:below=Organization/x"),
        ("Task", "part-of:above=Task/x"),
        ("Patient", "link:Patient." * 6 + "name=x"),
        ("Task", "_contained=true"),
    ],
)
def test_a_modifier_that_this_server_has_not_is_said_to_be_unsupported(
    type: str, text: str
) -> None:
    with pytest.raises(Unsupported):
        read(type, text, strict=False)


@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("Task", "authored-on=yesterday"),
        ("Task", "focus=1"),
        ("Task", "subject.name=x&owner=1"),
        ("Task", "_count=-1"),
        ("Task", "_count=many"),
        ("Task", "_count=99999999999999999999"),
        ("Task", "_total=all"),
        ("Task", "_include=focus"),
        ("Task", "_include=Task:status"),
        ("Task", "_include=Task:owner:Unicorn"),
        ("Task", "_sort=" + ",".join(["status"] * 11)),
        ("Task", "&".join(["_include=Task:focus"] * 51)),
        ("Task", "_cursor=junk"),
        ("Task", "_cursor=W10"),
        ("Task", "_cursor=é"),
        ("Task", "status=\x00"),
        ("Task", "status=" + ",".join("x" * 101)),
        ("Task", "&".join(["status=x"] * 51)),
    ],
)
def test_a_value_that_cannot_be_is_refused(type: str, text: str) -> None:
    with pytest.raises(Invalid):
        read(type, text, strict=False)


def test_a_chain_to_any_type_must_say_which() -> None:
    with pytest.raises(Invalid, match="say which type"):
        read("Task", "focus.status=x")


@pytest.mark.standard("FHIR search chained parameters")
def test_a_chain_to_several_types_is_followed_to_each_that_knows_the_rest() -> None:
    (found,) = read("Task", "owner.family=x").criteria

    assert {each.chain.type for each in found.either if each.chain} == {"Patient", "Practitioner"}
    (single,) = read("ServiceRequest", "subject.family=x").criteria
    assert single.chain is not None
    assert single.chain.type == "Patient"


@pytest.mark.standard("FHIR search chained parameters")
def test_chains_go_on_and_turn_round() -> None:
    (found,) = read("Provenance", "target:Task.focus:ImagingStudy.patient.family=x").criteria
    assert list(found.ends) == ["Task", "ImagingStudy", "Patient"]
    (found,) = read("Patient", "_has:Task:patient:_has:Provenance:target:recorded=2026").criteria
    assert list(found.ends) == ["Task", "Provenance"]
    (found,) = read("Task", "patient._has:ImagingStudy:patient:modality=CT").criteria
    assert list(found.ends) == ["Patient", "ImagingStudy"]
    (found,) = read("Patient", "_has:Task:patient:owner:Organization.name=x").criteria
    assert list(found.ends) == ["Task", "Organization"]


@pytest.mark.standard("FHIR search include")
def test_a_wildcard_is_every_reference_parameter() -> None:
    asked = read("Task", "_include=*")
    assert {"focus", "owner", "patient", "based-on"} <= {each.code for each in asked.includes}
    assert asked.includes == read("Task", "_include=Task:*").includes
    asked = read("Task", "_include:iterate=ImagingStudy:*:Endpoint")
    assert {each.target for each in asked.includes} == {"Endpoint"}
    assert all(each.iterate for each in asked.includes)


def test_what_a_query_touches_are_the_types_of_its_chains_and_includes() -> None:
    asked = read(
        "Task",
        "patient.name=x&_include=Task:encounter&_include=Task:owner:Device&_revinclude=Provenance:target",
    )

    assert asked.touches == {"Patient", "Encounter", "Device", "Provenance"}
    assert read("Task", "_include=Task:focus").touches >= {"ImagingStudy", "Appointment"}


@pytest.mark.parametrize(
    ("type", "text", "pinned"),
    [
        ("Task", "status=ready&patient=p1", 1),
        ("ServiceRequest", "subject=Patient/p1", 0),
        ("ServiceRequest", "subject=p1", None),
        ("ServiceRequest", "patient=p1,p2", None),
        ("ServiceRequest", "patient:missing=true", None),
        ("ServiceRequest", "subject=Patient/p1/_history/1", None),
        ("Provenance", "patient=p1", None),
        ("Patient", "_id=p1", None),
    ],
)
def test_a_query_about_one_patient_is_known(type: str, text: str, pinned: int | None) -> None:
    assert read(type, text).pinned == pinned


def test_a_pattern_is_a_criterion_of_the_servers_own() -> None:
    assert query.like("family", "smi%") == Criterion("family", "string", "like", ("smi%",))


NAMES = st.sampled_from(
    ["status", "patient", "owner", "focus", "authored-on", "_id", "_lastUpdated", "_sort", "_count",
     "_include", "_revinclude", "_cursor", "_total", "patient.name", "focus:ImagingStudy.modality",
     "owner:Organization", "status:not", "owner:missing", "_profile", "_summary", "period"]
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="ab|,\\$:-/0123456789TZ._", max_size=20),
    st.sampled_from(
        ["ge2026", "Patient/1", "-status,authored-on", "Task:focus", "true", "WzEsMl0"]
    ),
)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(NAMES, st.text(max_size=12)), VALUES), max_size=5), st.booleans()
)
def test_reading_any_query_raises_nothing_but_a_refusal(
    asked: list[tuple[str, str]], strict: bool
) -> None:
    try:
        found = parse("Task", asked, strict=strict)
    except Refusal:
        return
    assert found == parse("Task", asked, strict=strict)
    assert hash(found.criteria) is not None
