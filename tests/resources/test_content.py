"""A resource keeps its bytes; what can be read in two ways is not read at all."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.content import Content, made, read, replaced, stamped
from resources.errors import Unreadable

Members = dict[str, msgspec.Raw]
NOON = 1_795_521_600_000_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False,
    allow_infinity=False), texts,
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda t: st.lists(t, max_size=4) | st.dictionaries(texts, t, max_size=4),
    max_leaves=15,
)
objects = st.dictionaries(texts, trees, max_size=6)
metas = st.dictionaries(
    st.sampled_from(["tag", "versionId", "lastUpdated", "source", "profile"]), trees, max_size=5
)


@st.composite
def resources(draw: st.DrawFn) -> dict[str, Any]:
    members = draw(objects) | {"resourceType": "Basic"}
    if draw(st.booleans()):
        members["id"] = draw(texts)
    if draw(st.booleans()):
        members["meta"] = draw(metas)
    return {name: members[name] for name in draw(st.permutations(sorted(members)))}


def text_of(resource: dict[str, Any], indent: int | None, ascii_only: bool) -> bytes:
    return json.dumps(resource, indent=indent, ensure_ascii=ascii_only).encode()


@pytest.mark.standard("FHIR http create")
@given(resources(), st.sampled_from([None, 0, 2]), st.booleans())
def test_a_stamped_resource_differs_in_id_and_meta_only(
    resource: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    sent = read(text_of(resource, indent, ascii_only))

    stored = read(stamped(sent, "a-1", 7, NOON)).json

    meta = stored.pop("meta")
    assert stored.pop("id") == "a-1"
    assert meta.pop("versionId") == "7"
    assert meta.pop("lastUpdated") == "2026-11-24T12:00:00.000Z"
    kept = dict(sent.json.get("meta", {}))
    assert meta == {k: v for k, v in kept.items() if k not in ("versionId", "lastUpdated")}
    assert stored == {k: v for k, v in sent.json.items() if k not in ("id", "meta")}


@given(resources())
def test_a_stamped_resource_keeps_the_order_of_members(resource: dict[str, Any]) -> None:
    sent = read(text_of(resource, None, False))

    stored = read(stamped(sent, "a-1", 1, NOON)).json

    kept = [name for name in stored if name in sent.json]
    assert kept == list(sent.json)


@given(resources())
def test_a_stamped_resource_keeps_the_bytes_of_every_other_member(resource: dict[str, Any]) -> None:
    sent = read(text_of(resource, 2, True))

    before = msgspec.json.decode(sent.text, type=Members)
    after = msgspec.json.decode(stamped(sent, "a-1", 1, NOON), type=Members)

    for name in before.keys() - {"id", "meta"}:
        assert bytes(before[name]) == bytes(after[name])


@pytest.mark.standard("FHIR Datatypes decimal")
@pytest.mark.parametrize("value", ["1.10", "1e3", "0.00", "-0.0", "100", "1E-2", '"\\u00e4\\/"'])
@pytest.mark.parametrize("extra", ["", ', "id": "x"', ', "meta": {"tag": []}'])
def test_precision_and_escapes_are_served_as_sent(value: str, extra: str) -> None:
    sent = read(f'{{"resourceType": "Basic", "x": {value}{extra}}}'.encode())

    stored = msgspec.json.decode(stamped(sent, "b", 1, 0), type=Members)

    assert bytes(stored["x"]) == value.encode()


def test_meta_of_the_client_keeps_its_bytes() -> None:
    sent = read(b'{"resourceType":"Basic","meta":{"tag":[ 1.10 ],"versionId":"44"}}')

    assert stamped(sent, "b", 2, 0) == (
        b'{"resourceType":"Basic","id":"b",'
        b'"meta":{"lastUpdated":"1970-01-01T00:00:00.000Z","tag":[ 1.10 ],"versionId":"2"}}'
    )


@given(resources(), objects)
def test_replacing_members_leaves_the_others_alone(
    resource: dict[str, Any], new: dict[str, Any]
) -> None:
    sent = read(text_of(resource, 2, True))
    new = {name: value for name, value in new.items() if value is not None}

    after = replaced(sent, new)

    assert after.json == {**sent.json, **new}
    assert json.loads(after.text) == after.json
    before, raws = (msgspec.json.decode(c.text, type=Members) for c in (sent, after))
    assert all(bytes(before[k]) == bytes(raws[k]) for k in before.keys() - new.keys())


def test_replacing_with_none_takes_a_member_away() -> None:
    after = replaced(read(b'{"resourceType":"Basic","id":"b"}'), {"id": None, "text": None})

    assert after == Content("Basic", {"resourceType": "Basic"}, b'{"resourceType":"Basic"}')


def test_what_the_server_makes_reads_back() -> None:
    basic = {"resourceType": "Basic", "code": {"text": "å"}}

    assert read(made(basic).text) == made(basic)


@given(resources(), st.sampled_from([None, 1]), st.booleans())
def test_what_has_no_duplicates_is_never_taken_for_having_them(
    resource: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    assert read(text_of(resource, indent, ascii_only)).json == json.loads(
        text_of(resource, indent, ascii_only)
    )


@pytest.mark.standard("RFC 8259 4")
@given(st.dictionaries(texts, scalars, min_size=1, max_size=4), st.data(), st.integers(0, 4))
def test_a_member_twice_is_refused_however_deep(
    members: dict[str, Any], data: st.DataObject, depth: int
) -> None:
    twice = data.draw(st.sampled_from(sorted(members)))
    again = f"{json.dumps(twice)} : {json.dumps(data.draw(scalars))}"
    inner = json.dumps(members)[:-1] + f" , {again} }}"
    for _ in range(depth):
        inner = f'{{"x": [{inner}]}}'

    with pytest.raises(Unreadable, match="twice"):
        read(f'{{"resourceType": "Basic", "x": {inner}}}'.encode())


def nested(levels: int) -> bytes:
    """A resource of that many levels, the resource being the first."""
    return b'{"resourceType":"Basic","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_64_levels_are_read() -> None:
    assert read(nested(64)).type == "Basic"


@pytest.mark.parametrize("levels", [65, 1000, 1020, 1030, 100_000])
def test_more_than_64_levels_are_refused(levels: int) -> None:
    with pytest.raises(Unreadable):
        read(nested(levels))


def test_many_brackets_in_a_row_are_not_levels() -> None:
    assert read(b'{"resourceType":"Basic","x":[' + b"[],{}," * 200 + b'"[[[["]}').type == "Basic"


@pytest.mark.parametrize("number", ["1" * 100, "0." + "1" * 98, "-1." + "0" * 97])
def test_a_number_of_100_characters_is_read(number: str) -> None:
    assert read(f'{{"resourceType":"Basic","x":{number}}}'.encode()).type == "Basic"


@pytest.mark.parametrize("number", ["1" * 101, "0." + "1" * 99, "1.0e+" + "0" * 95 + "1"])
def test_a_longer_number_is_refused(number: str) -> None:
    with pytest.raises(Unreadable, match="100 characters"):
        read(f'{{"resourceType":"Basic","x":{number}}}'.encode())


def test_digits_in_a_string_are_no_number() -> None:
    assert read(b'{"resourceType":"Basic","x":"\\"' + b"1" * 500 + b'"}').type == "Basic"


@pytest.mark.standard("RFC 8259 8")
@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"null", b"[]", b'"Patient"', b"{}", b'{"resourceType":1}',
        b'{"resourceType":"Ghost"}', b'{"resourceType":"DomainResource"}',
        b'{"resourceType":"HumanName"}', b'{"resourceType":["Patient"]}',
        b'\xef\xbb\xbf{"resourceType":"Patient"}', '{"resourceType":"Patient"}'.encode("utf-16"),
        b'{"resourceType":"Patient","x":"\xff"}', b'{"resourceType":"Patient","x":"\xed\xa0\x80"}',
        b'{"resourceType":"Patient","x":"\\ud800"}', b'{"resourceType":"Patient","x":"\\udc00"}',
        b'{"resourceType":"Patient","x":NaN}', b'{"resourceType":"Patient","x":-Infinity}',
        b'{"resourceType":"Patient","x":1e400}', b'{"resourceType":"Patient","x":01}',
        b'{"resourceType":"Patient","x":"a\tb"}', b'{"resourceType":"Patient",}',
        b'{"resourceType":"Patient"} {}', b"{'resourceType':'Patient'}",
        b'{"resourceType":"Patient" /* no */}',
    ],
)  # fmt: skip
def test_what_is_not_one_resource_in_json_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        read(raw)


@pytest.mark.parametrize("space", ["", " ", "\r\n\t "])
def test_white_space_is_kept_and_harmless(space: str) -> None:
    raw = f'{space}{{{space}"resourceType"{space}:{space}"Basic"{space}}}{space}'.encode()

    assert read(raw).text == raw
    assert read(stamped(read(raw), "b", 1, 0)).json["id"] == "b"
