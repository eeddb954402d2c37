"""How much may be asked: so many in a time, so many at once, each asker by itself."""

from itertools import accumulate
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.access import limits
from fhir_server.access.limits import Limits, Rate
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import EVERYTHING
from resources.errors import Throttled

pytestmark = [pytest.mark.standard("threats T22"), pytest.mark.standard("RFC 6585 4")]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.at)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def taken(rate: Rate, asker: str, most: int = 1000) -> int:
    """How many are taken until one is refused."""
    for count in range(most):
        try:
            rate.take(asker)
        except Throttled:
            return count
    return most


def test_so_many_at_once_and_then_so_many_in_a_time(clock: Clock) -> None:
    rate = Rate(10, 60, 10)

    assert taken(rate, "a") == 10
    clock.at += 6.1
    assert taken(rate, "a") == 1
    clock.at += 61
    assert taken(rate, "a") == 10


def test_one_asker_takes_nothing_from_another(clock: Clock) -> None:
    rate = Rate(10, 60, 10)

    assert (taken(rate, "a"), taken(rate, "b")) == (10, 10)


def test_who_is_refused_is_told_when_to_come_back_and_may_then(clock: Clock) -> None:
    rate = Rate(10, 60, 10)
    taken(rate, "a")

    with pytest.raises(Throttled) as refused:
        rate.take("a")
    assert refused.value.seconds == 6
    clock.at += refused.value.seconds
    rate.take("a")


def test_only_the_first_refusal_begins_it_until_it_has_been_quiet(clock: Clock) -> None:
    rate, begun = Rate(1, 3600, 1), []
    rate.take("a")
    for wait in (0, 1, 30, 59, 61):
        clock.at += wait
        with pytest.raises(Throttled) as refused:
            rate.take("a")
        begun.append(refused.value.begins)

    assert begun == [True, False, False, False, True]


def test_a_limit_of_none_limits_nothing(clock: Clock) -> None:
    assert taken(Rate(0, 1, 0), "a") == 1000


def test_what_is_known_of_askers_does_not_grow_without_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_KNOWN", 100)
    rate = Rate(1, 60, 1)

    for number in range(1000):
        rate.take(f"asker {number}")

    assert len(rate._paid) <= 100
    assert taken(rate, "asker 999") == 0


def test_lookups_in_vain_are_counted_and_others_are_not(clock: Clock) -> None:
    limited = Limits(lookups=3)
    who = Principal("PractitionerRole/a", "lead", "referrer", EVERYTHING, client="app")
    other = Principal("PractitionerRole/b", "lead", "referrer", EVERYTHING, client="app")
    for _ in range(100):
        limited.check_lookup(who)
    for _ in range(5):
        limited.found_nobody(who)

    with pytest.raises(Throttled):
        limited.check_lookup(who)
    limited.check_lookup(other)
    clock.at += 21
    limited.check_lookup(who)


def test_an_address_of_ipv6_is_counted_by_its_network(clock: Clock) -> None:
    limited = Limits(tokens=2)
    limited.admit_address("token", "2001:db8::1")
    limited.admit_address("token", "2001:db8::ffff:2")
    limited.admit_address("introspect", "2001:db8::1")
    limited.admit_address("token", "2001:db8:0:1::1")

    with pytest.raises(Throttled):
        limited.admit_address("token", "2001:db8::3")


@given(
    number=st.integers(1, 20),
    burst=st.integers(1, 20),
    waits=st.lists(st.floats(0, 30), min_size=1, max_size=120),
)
def test_no_span_of_time_has_more_than_the_burst_and_the_rate(
    number: int, burst: int, waits: list[float]
) -> None:
    rate, taken_at = Rate(number, 60, burst), []
    for at in accumulate(waits, initial=1000.0):
        with patch("time.monotonic", lambda at=at: at):
            try:
                rate.take("a")
            except Throttled:
                continue
            taken_at.append(at)

    for first, began in enumerate(taken_at):
        for last in range(first, len(taken_at)):
            span = taken_at[last] - began
            assert last - first + 1 <= burst + span * number / 60 + 1e-6
