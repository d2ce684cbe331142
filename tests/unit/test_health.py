"""The circuit breaker: who rests, how long, and that one request at a time probes."""

import pytest

from base.errors import BackendError, Busy, Limited, Refused, TimedOut, Unfit, Unreachable
from router.health import LEASE_S, LONGEST_S, Health


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def down(*, retry_after: float = 0.0, kind: type[BackendError] = Unreachable) -> BackendError:
    return kind("It is down.", "Start it.", retry_after)


@pytest.mark.parametrize(("kind", "rest"), [(Unreachable, 15), (TimedOut, 30), (Limited, 5), (Refused, 5), (Busy, 0), (Unfit, 0)])
def test_each_kind_of_failure_has_its_rest(clock: Clock, kind: type[BackendError], rest: float) -> None:
    health = Health(clock)
    health.failed("m", down(kind=kind))
    assert health.blocked() == ({"m": f"cooling down, {rest} s left"} if rest else {})
    clock.now += rest
    assert health.blocked() == {}


def test_failures_in_a_row_double_the_rest_up_to_a_bound_and_an_answer_forgets_them(clock: Clock) -> None:
    health = Health(clock)
    rests = []
    for _ in range(7):
        assert health.admit("m") == ""
        health.failed("m", down())
        rests.append(float(health.blocked()["m"].split()[2]))
        clock.now += rests[-1]
    assert rests == [15, 30, 60, 120, 240, LONGEST_S, LONGEST_S]
    health.admit("m")
    health.answered("m")
    health.failed("m", down())
    assert "15 s" in health.blocked()["m"]


def test_requests_that_fail_together_are_one_failure(clock: Clock) -> None:
    health = Health(clock)
    for _ in range(5):
        health.failed("m", down())
    assert "15 s" in health.blocked()["m"]


def test_a_server_is_given_the_time_it_asks_for_but_not_for_ever(clock: Clock) -> None:
    health = Health(clock)
    health.failed("m", down(kind=Limited, retry_after=42))
    assert "42 s" in health.blocked()["m"]
    health.failed("n", down(kind=Limited, retry_after=1e9))
    assert f"{LONGEST_S:.0f} s" in health.blocked()["n"]


def test_after_the_rest_one_request_probes_and_the_others_wait_for_its_verdict(clock: Clock) -> None:
    health = Health(clock)
    assert health.admit("m") == health.admit("m") == "", "a healthy model takes everybody"
    health.failed("m", down())
    clock.now += 15
    assert health.admit("m") == "" and "another message" in health.admit("m")
    assert health.blocked() == {"m": "cooling down, being tried again"}
    health.answered("m")
    assert health.admit("m") == "" and health.blocked() == {}


def test_a_probe_that_was_stopped_or_lost_makes_room_for_the_next(clock: Clock) -> None:
    health = Health(clock)
    health.failed("m", down())
    clock.now += 15
    health.admit("m")
    health.given_up("m")
    assert health.admit("m") == ""
    clock.now += LEASE_S
    assert health.admit("m") == "", "nobody heard of that one again"
    health.failed("m", Busy("Full.", ""))
    assert health.admit("m") == "", "a full queue is no verdict"
