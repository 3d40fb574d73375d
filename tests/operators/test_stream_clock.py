"""Sound without times: what came late is not missing, what never came is."""

from hypothesis import given
from hypothesis import strategies as st

from operators.stream_clock import StreamClock

PIECE_S = 0.1


def missing(late: list[float], *, begins: bool = False) -> list[float]:
    """Give what is missing before each piece; a gap that was told counts from then on."""
    clock, told, found = StreamClock(), 0.0, []
    for number, late_s in enumerate(late):
        clock, gap_s = clock.step(late_s - told, PIECE_S, begins=begins and number == 0)
        told += gap_s
        found.append(gap_s)
    return found


def test_pieces_that_were_held_up_for_a_while_are_not_missing() -> None:
    held_up = [0.0] * 10 + [1.5 - 0.1 * number for number in range(15)] + [0.0] * 30
    assert sum(missing(held_up)) == 0


def test_a_count_that_stays_behind_is_a_gap_once() -> None:
    found = missing([0.0] * 20 + [0.7] * 60)
    assert [gap for gap in found if gap] == [0.7]


def test_a_slow_start_is_a_gap_at_once_and_a_moment_is_none() -> None:
    assert missing([4.0, 4.0], begins=True) == [4.0, 0.0]
    assert missing([0.05, 0.05], begins=True) == [0.0, 0.0]


def test_a_count_ahead_of_the_clock_is_left_alone() -> None:
    assert sum(missing([-2.0] * 100)) == 0
    assert missing([-2.0], begins=True) == [0.0]


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_never_more_is_missing_than_the_latest_piece_was_late(late: list[float]) -> None:
    assert 0 <= sum(missing(late)) <= max(late) + 1e-6
