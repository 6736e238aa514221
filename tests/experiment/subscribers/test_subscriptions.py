"""What subscribers write is a function of the log: after a stop and a resume, with or without them, it is the same."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import small, stop_at
from synoptic.core import SynopticError
from synoptic.experiment.events import read_events
from synoptic.experiment.folder import RunFolder
from synoptic.experiment.follow import News
from synoptic.experiment.runner import resume, run
from synoptic.experiment.subscribers import MetricsCsv, Rows, Subscriptions, TensorBoard, tensor_board
from synoptic.experiment.yaml_text import read_yaml

Table = list[tuple[int, str, float]]


def no_words(sentence: str) -> None:
    raise AssertionError(sentence)


def subscribed(to: Path | None = None, csv: bool = True, tensorboard: bool = False,
               say: Callable[[str], object] = no_words) -> Subscriptions:  # fmt: skip
    return Subscriptions(csv, tensorboard, to, say)


def table(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        return [(int(row["round"]), row["name"], float(row["value"])) for row in csv.DictReader(file)]


def of_the_log(folder: Path) -> Table:
    """What the rows of a run's log are."""
    rows = Rows()
    return [(row.round, row.name, row.value) for event in read_events(folder / "events.jsonl")
            for row in rows.of(event)]  # fmt: skip


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder))
    shown.Reload()
    return {name: [(point.step, point.value) for point in shown.Scalars(name)] for name in shown.Tags()["scalars"]}


def interrupted(folder: Path, kind: str, round_: int, *observers: Any) -> Path:
    with pytest.raises(KeyboardInterrupt):
        run(small(folder), [*observers, stop_at(kind, round_)])
    (path,) = folder.iterdir()
    return path


def test_a_run_leaves_its_metrics_as_csv(tmp_path: Path) -> None:
    with subscribed() as others:
        result = run(small(tmp_path), [others])
    rows = table(result.folder / "metrics.csv")
    assert rows == of_the_log(result.folder)
    assert {name: value for round_, name, value in rows if round_ == 4} | result.metrics == {
        name: value for round_, name, value in rows if round_ == 4
    }
    assert {round_ for round_, _, _ in rows} == {0, 1, 2, 3, 4}
    assert (result.folder / "metrics.csv").read_text().splitlines()[0] == "round,seconds,name,value"


def test_lines_are_there_as_soon_as_the_round_is_told(tmp_path: Path) -> None:
    others, seen = subscribed(), []

    def look(event: dict[str, Any]) -> None:
        if event["type"] == "round":
            (path,) = tmp_path.glob("*/metrics.csv")
            seen.append(max(round_ for round_, _, _ in table(path)))

    run(small(tmp_path), [others, look])
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize(("kind", "round_"), [("cohort", 0), ("evaluated", 2), ("round", 1)])
@pytest.mark.parametrize("before", [True, False], ids=["asked before", "asked only on resuming"])
def test_a_resume_neither_repeats_nor_loses_a_line(tmp_path: Path, kind: str, round_: int, before: bool) -> None:
    first = subscribed()
    path = interrupted(tmp_path, kind, round_, *([first] if before else []))
    with subscribed() as others:
        result = resume(path, [others])
    rows = table(path / "metrics.csv")
    assert rows == of_the_log(path)
    assert len({(round_, name) for round_, name, _ in rows}) == len(rows)
    assert {round_ for round_, _, _ in rows} == {0, 1, 2, 3, 4}
    assert ("shared/base/accuracy/mean", result.metrics["shared/base/accuracy/mean"]) in {
        (name, value) for round_, name, value in rows if round_ == 4
    }


def test_a_finished_run_gets_its_table_from_its_log(tmp_path: Path) -> None:
    folder = run(small(tmp_path / "runs", "fedavg", "rounds=1")).folder
    others = subscribed(to=tmp_path / "elsewhere")
    others.finish(resume(folder, [others]).folder)
    assert others.paths == [tmp_path / "elsewhere" / folder.name / "metrics.csv"]
    assert table(others.paths[0]) == of_the_log(folder)
    assert not (folder / "metrics.csv").exists()


def test_names_with_commas_and_quotes_are_read_back(tmp_path: Path) -> None:
    names = ['shared/domain/a, "b"/accuracy/mean', "shared/domain/\u00e9\n/loss/mean"]
    writer = MetricsCsv(tmp_path / "metrics.csv")
    writer.begin([])
    writer.tell({"type": "evaluated", "time": 0.0, "round": -1, "metrics": {names[0]: 0.1, names[1]: float("nan")}})
    (first, second) = table(tmp_path / "metrics.csv")
    assert first == (0, names[0], 0.1)
    assert second[1] == names[1]
    assert second[2] != second[2]


def test_a_log_that_was_cut_starts_the_table_anew(tmp_path: Path) -> None:
    folder = run(small(tmp_path, "fedavg", "rounds=2")).folder
    events = list(read_events(folder / "events.jsonl"))
    others = subscribed()
    others.take(RunFolder(folder), News(events[:2]))
    others.take(RunFolder(folder), News(events[2:]))
    whole = (folder / "metrics.csv").read_text()
    assert table(folder / "metrics.csv") == of_the_log(folder)
    others.take(RunFolder(folder), News([], events[:2]))
    assert {round_ for round_, _, _ in table(folder / "metrics.csv")} == {0}
    others.take(RunFolder(folder), News(events[2:]))
    assert (folder / "metrics.csv").read_text() == whole


def test_what_cannot_be_written_is_told_once_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    said: list[str] = []
    with subscribed(to=tmp_path / "taken", say=said.append) as others:
        result = run(small(tmp_path / "runs", "fedavg", "rounds=2"), [others])
    assert result.summary["rounds"] == 2
    (sentence,) = said
    assert f"synoptic watch {result.folder} --once --csv" in sentence
    assert sentence.startswith(str(tmp_path / "taken"))
    assert others.paths == []


def test_nothing_is_opened_unless_asked_for(tmp_path: Path) -> None:
    with subscribed(csv=False) as others:
        folder = run(small(tmp_path, "fedavg", "rounds=1"), [others]).folder
        others.finish(folder)
    assert others.paths == []
    assert not (folder / "metrics.csv").exists()


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_board, "find_spec", lambda name: None)
    with pytest.raises(SynopticError, match="not installed; install it with: pip install tensorboard"):
        subscribed(tensorboard=True)
    assert not subscribed(csv=False).wanted


# -- TensorBoard ----------------------------------------------------------------------------------------------------


def test_tensorboard_shows_what_the_table_holds(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with subscribed(tensorboard=True) as others:
        folder = run(small(tmp_path, "fedavg", "rounds=2"), [others]).folder
    wanted: dict[str, list[tuple[int, float]]] = {}
    for round_, name, value in table(folder / "metrics.csv"):
        wanted.setdefault(name, []).append((round_, pytest.approx(value, rel=1e-6)))
    assert scalars(folder / "tensorboard") == wanted


@pytest.mark.parametrize("before", [True, False], ids=["asked before", "asked only on resuming"])
def test_tensorboard_after_a_resume_shows_every_round_once(tmp_path: Path, before: bool) -> None:
    pytest.importorskip("tensorboard")
    with subscribed(csv=False, tensorboard=True) as first:
        path = interrupted(tmp_path, "evaluated", 2, *([first] if before else []))
    with subscribed(csv=False, tensorboard=True) as others:
        resume(path, [others])
    shown = scalars(path / "tensorboard")
    assert [step for step, _ in shown["shared/base/accuracy/mean"]] == [0, 1, 2, 3, 4]
    assert [step for step, _ in shown["round/bytes_up"]] == [1, 2, 3, 4]


def test_tensorboard_tells_the_recipe(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(small(tmp_path, "fedavg", "rounds=1", "train.lr=0.0125")).folder
    writer = TensorBoard(tmp_path / "board", read_yaml(folder / "recipe.yaml")[0])
    writer.begin(list(read_events(folder / "events.jsonl")))
    writer.close()
    shown = EventAccumulator(str(tmp_path / "board"))
    shown.Reload()
    (text,) = shown.Tensors("recipe/text_summary")
    assert b"lr: 0.0125" in text.tensor_proto.string_val[0]
    (file,) = (tmp_path / "board").iterdir()
    for part in (b"train.lr", b"shared/base/accuracy/mean", b"_hparams_/session_start_info"):
        assert part in file.read_bytes()
