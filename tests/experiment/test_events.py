from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.experiment.events import EventLog, read_events

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(st.dictionaries(st.text(max_size=4), values, max_size=3), max_size=5))
def test_what_is_written_can_be_read(tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    log = EventLog(path)
    for event in events:
        log.append(event)
    assert list(read_events(path)) == events
    assert log.size == path.stat().st_size


def test_resuming_cuts_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append({"round": 0})
    kept = log.size
    log.append({"round": 1})
    again = EventLog(path, kept)
    again.append({"round": "1 again"})
    assert list(read_events(path)) == [{"round": 0}, {"round": "1 again"}]


def test_a_lost_log_starts_anew(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", size=100)
    log.append({"round": 3})
    assert list(read_events(tmp_path / "events.jsonl")) == [{"round": 3}]


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": ')
    assert list(read_events(path)) == [{"a": 1}]


@pytest.mark.parametrize("content", [b'{"a": 1}\nnoise\n{"b": 2}\n', b'{"a": 1}\n\xff\xfe\n'])
def test_a_damaged_line_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(SynopticError, match=r"line 2 of .* is damaged; restore the file from a copy\."):
        list(read_events(path))


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="does not exist; give the folder of a run"):
        list(read_events(tmp_path / "nothing.jsonl"))
