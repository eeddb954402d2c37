"""JSON Patch, against the examples of RFC 6902 Appendix A; and patches that nobody would write."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import content, json_patch, patching
from resources.errors import Conflict, Invalid, Refusal

pytestmark = pytest.mark.standard("RFC 6902")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
POINTERS = st.lists(
    st.sampled_from(["a", "b", "0", "1", "-", "~0", "~1", "~", "01", ""]), max_size=4
).map(lambda tokens: "".join(f"/{token}" for token in tokens))


def patched(document: Any, *operations: Any) -> Any:
    return json_patch.apply(json_patch.read(list(operations)), document)


@pytest.mark.parametrize(
    ("document", "operation", "result"),
    [
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"},
         {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "qux"},
         {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, {"op": "remove", "path": "/baz"}, {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, {"op": "remove", "path": "/foo/1"},
         {"foo": ["bar", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, {"op": "replace", "path": "/baz", "value": "boo"},
         {"baz": "boo", "foo": "bar"}),
        ({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
         {"op": "move", "from": "/foo/waldo", "path": "/qux/thud"},
         {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ({"foo": ["all", "grass", "cows", "eat"]},
         {"op": "move", "from": "/foo/1", "path": "/foo/3"},
         {"foo": ["all", "cows", "eat", "grass"]}),
        ({"foo": "bar"}, {"op": "add", "path": "/child", "value": {"grandchild": {}}},
         {"foo": "bar", "child": {"grandchild": {}}}),
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux", "xyz": 123},
         {"foo": "bar", "baz": "qux"}),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}),
        ({"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["abc", "def"]},
         {"foo": ["bar", ["abc", "def"]]}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"},
         {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": 1}, {"op": "move", "from": "/a", "path": "/a"}, {"a": 1}),
        ({"a": 1}, {"op": "add", "path": "/a", "value": 2}, {"a": 2}),
        ({"": 1}, {"op": "replace", "path": "/", "value": 2}, {"": 2}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1.0}, {"a": 1}),
    ],
)  # fmt: skip
def test_the_examples_of_the_standard(document: Any, operation: Any, result: Any) -> None:
    assert patched(document, operation) == result


@pytest.mark.parametrize(
    ("document", "operation", "refusal"),
    [
        ({"baz": "qux"}, {"op": "test", "path": "/baz", "value": "bar"}, Conflict),
        ({"foo": "bar"}, {"op": "add", "path": "/baz/bat", "value": "qux"}, Conflict),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": "10"}, Conflict),
        ({"a": [1]}, {"op": "add", "path": "/a/2", "value": 1}, Conflict),
        ({"a": [1]}, {"op": "remove", "path": "/a/-"}, Conflict),
        ({"a": [1]}, {"op": "replace", "path": "/a/1", "value": 1}, Conflict),
        ({"a": True}, {"op": "test", "path": "/a", "value": 1}, Conflict),
        ({"a": None}, {"op": "test", "path": "/a", "value": False}, Conflict),
        ({"a": {}}, {"op": "move", "from": "/a", "path": "/a/b"}, Invalid),
    ],
)
def test_what_the_standard_calls_an_error(
    document: Any, operation: Any, refusal: type[Refusal]
) -> None:
    with pytest.raises(refusal):
        patched(document, operation)


def test_a_value_that_is_added_twice_is_two_values() -> None:
    value = {"given": ["a"]}

    result = patched(
        {"name": []},
        {"op": "add", "path": "/name/-", "value": value},
        {"op": "add", "path": "/name/-", "value": value},
        {"op": "add", "path": "/name/0/given/-", "value": "b"},
    )

    assert result == {"name": [{"given": ["a", "b"]}, {"given": ["a"]}]}


def test_a_patch_does_not_copy_without_end() -> None:
    long = {"op": "copy", "from": "/x/0", "path": "/x/-"}
    many = {"op": "copy", "from": "/x", "path": "/x/-"}

    with pytest.raises(Invalid) as one:
        patched({"x": ["a" * 100_000]}, *[long] * 100)
    with pytest.raises(Invalid) as other:
        patched({"x": [{}]}, *[many] * 40)

    assert one.value.code == other.value.code == "too-costly"


def test_a_patch_does_not_nest_without_end() -> None:
    before = content.read(b'{"resourceType":"Basic"}')
    change = [{"op": "add", "path": "/x", "value": {}}]
    change += [{"op": "copy", "from": "/x", "path": "/x" * 2**n + "/x"} for n in range(14)]

    with pytest.raises(Invalid) as refused:
        patching.patched(before, lambda tree: json_patch.apply(json_patch.read(change), tree))

    assert refused.value.code == "too-costly"


@given(document=JSON, op=st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
       path=POINTERS, source=POINTERS, value=JSON)  # fmt: skip
def test_any_operation_is_done_or_refused(
    document: Any, op: str, path: str, source: str, value: Any
) -> None:
    operation = {"op": op, "path": path, "from": source, "value": value}
    try:
        result = patched(document, operation)
    except Refusal:
        return
    if op in ("add", "replace") and not path.endswith("-"):
        assert patched(result, {"op": "test", "path": path, "value": value}) == result


@pytest.mark.standard("FHIR Datatypes decimal")
def test_digits_of_a_patch_are_kept_even_where_the_value_is_the_same() -> None:
    before = content.read(b'{"resourceType":"Basic","extension":[{"valueDecimal":1.0}]}')
    change = [{"op": "replace", "path": "/extension/0/valueDecimal", "value": Decimal("1.00")}]

    after = patching.patched(before, lambda tree: json_patch.apply(json_patch.read(change), tree))

    assert b'"valueDecimal":1.00}' in after.text
