"""A stream says how far the flows are behind."""

import json
from types import SimpleNamespace

from api.stream import LAG_STEP_S, _Follower
from schemas.progress import FlowProgress


def test_lag_is_told_when_it_changes_and_not_otherwise() -> None:
    behind = [3.2]

    def flows() -> list[FlowProgress]:
        return [
            FlowProgress("utterances", "utterances", 9, 9, 0, 0.04, alive=True),
            FlowProgress("questions", "questions", 1, 9, 8, behind[0], alive=True),
        ]

    engine = SimpleNamespace(flows=flows)
    door = SimpleNamespace(parts=SimpleNamespace(engine=engine))
    follower = _Follower(door, "s", "0")  # type: ignore[arg-type]
    first = follower._lag_event()
    assert first is not None
    assert json.loads(str(first.data)) == {
        "type": "lag",
        "behind_s": 3.2,
        "stages": {"utterances": 0.0, "questions": 3.2},
    }
    follower._lag_at = 0.0
    behind[0] += LAG_STEP_S / 2
    assert follower._lag_event() is None
    follower._lag_at = 0.0
    behind[0] = 0.0
    told = follower._lag_event()
    assert told is not None
    assert '"behind_s": 0.0' in str(told.data)
