from fhir_server.search.stored import Stored


def test_the_bytes_are_parsed_once() -> None:
    stored = Stored("Flag", "f", 1, 0, "C", b'{"a":1.0}')

    assert stored.json is stored.json
    assert stored.text == b'{"a":1.0}'


def test_a_deletion_says_nothing() -> None:
    stored = Stored("Flag", "f", 2, 0, "D", b"")

    assert stored.deleted
    assert stored.json == {}
