"""The file of a shard gives back what it was given, at every place that may still be asked for, and stays small."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import piece_file
from flows.piece_file import SPARE_BYTES, Piece, PieceFolder

changes = st.lists(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.none() | st.tuples(st.integers(0, 6_000), st.booleans()), max_size=5
    ),
    min_size=1,
    max_size=12,
)


def piece(size: int, *, adds: bool = False) -> Piece:
    return bytes(size), float(size), None, 1.0, adds


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes, st.sets(st.integers(0, 11)))
def test_every_place_holds_what_was_there_when_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, tuple[int, bool] | None]], restarts: set[int]
) -> None:
    path = tmp_path_factory.mktemp("shard")
    folder = PieceFolder(path)
    file = folder.file(None)
    file.shard = "7"
    there: dict[str, list[Piece]] = {}
    before = None
    for number, step in enumerate(steps):
        changed = {
            one: None if new is None else piece(new[0], adds=new[1] and one in there) for one, new in step.items()
        }
        place = file.keep(changed)
        if before is not None:
            assert folder.file(before).restore() == there, "a process may be killed before the epoch of this one ends"
        there = dict(there)
        for one, new in changed.items():
            there[one] = [*(there.get(one, []) if new and new[4] else []), *([new] if new else [])]
        there = {one: pieces for one, pieces in there.items() if pieces}
        assert folder.file(place).restore() == there
        before = place
        if number in restarts:
            file = PieceFolder(path).file(place)
            assert file.restore() == there
    needed = sum(len(one[0]) + 200 for pieces in there.values() for one in pieces)
    for _ in range(3):
        file.keep({})
    files = list(path.iterdir())
    assert len(files) == 1, "what no place needs any more is removed"
    assert files[0].stat().st_size <= 3 * needed + SPARE_BYTES + 4 * 6_200


def test_what_a_killed_process_wrote_behind_its_last_place_does_no_harm(tmp_path: Path) -> None:
    folder = PieceFolder(tmp_path)
    file = folder.file(None)
    file.shard = "7"
    place = file.keep({"a": piece(10)})
    file.keep({"a": None, "b": piece(20)})  # of an epoch that did not end
    again = folder.file(place)
    assert again.restore() == {"a": [piece(10)]}
    place = again.keep({"c": piece(30)})
    (tmp_path / f"7.{place[1] + 1}").write_bytes(b"begun by a process that was killed")
    last = folder.file(place)
    assert last.restore() == {"a": [piece(10)], "c": [piece(30)]}
    last.keep({})
    place = last.keep({"d": piece(1)})
    assert folder.file(place).restore() == {"a": [piece(10)], "c": [piece(30)], "d": [piece(1)]}


@pytest.mark.parametrize("harm", ["shorter", "gone", "changed"])
def test_a_damaged_file_is_noticed(tmp_path: Path, harm: str) -> None:
    folder = PieceFolder(tmp_path)
    file = folder.file(None)
    file.shard = "7"
    place = file.keep({"a": piece(10), "b": piece(10)})
    lying = tmp_path / f"7.{place[1]}"
    whole = lying.read_bytes()
    if harm == "gone":
        lying.unlink()
    else:
        lying.write_bytes(whole[:-1] if harm == "shorter" else whole[:-1] + b"x")
    with pytest.raises(ValueError, match=r"the snapshot .* is"):
        folder.file(place).restore()


def test_without_a_folder_nothing_is_kept() -> None:
    file = PieceFolder().file(None)
    file.shard = "7"
    assert PieceFolder().file(file.keep({"a": piece(10)})).restore() == {}


def test_what_was_said_in_a_session_that_is_over_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    file = PieceFolder(tmp_path).file(None)
    file.shard = "7"
    file.keep({"a": (b"a secret", 1.0, None, None, False), "b": piece(1_000)})
    file.keep({"a": None})
    assert b"a secret" in lying(), "the file is not written anew for each"
    assert not file.cleared
    monkeypatch.setattr(piece_file, "GONE_S", 0.0)
    for _ in range(3):
        place = file.keep({})
    assert b"a secret" not in lying()
    assert file.cleared
    assert PieceFolder(tmp_path).file(place).restore() == {"b": [piece(1_000)]}
