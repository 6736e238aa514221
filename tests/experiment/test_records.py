from __future__ import annotations

from pathlib import Path

import pytest

from runs import small, stop_at
from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json
from synoptic.experiment.events import Event
from synoptic.experiment.folder import RunFolder, being_written, writing
from synoptic.experiment.records import read_run
from synoptic.experiment.runner import resume, run


def test_a_finished_run_says_everything_by_name(tmp_path: Path) -> None:
    result = run(small(tmp_path, "fedavg", "rounds=1"))
    record = read_run(result.folder)
    assert (record.status, record.method, record.seed) == ("finished", "fedavg", 0)
    measures = record.measures()
    assert measures["shared/base/accuracy/mean"] == result.metrics["shared/base/accuracy/mean"]
    assert measures["before/shared/base/accuracy/mean"] == result.summary["before"]["shared/base/accuracy/mean"]
    assert measures["bytes/total"] == result.summary["bytes"]["up"] + result.summary["bytes"]["down"]
    assert measures["work/examples"] == 60, "each training example once"
    assert measures["work/steps"] > 0
    assert next(event["type"] for event in record.events()) == "run_started"


def test_a_run_knows_whether_somebody_writes_it(tmp_path: Path) -> None:
    seen: list[str] = []

    def look(event: Event) -> None:
        if event["type"] == "round":
            seen.append(read_run(next(tmp_path.iterdir())).status)

    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path, "fedavg"), [look, stop_at("round", 1)])
    assert seen == ["running", "running"]
    record = read_run(next(tmp_path.iterdir()))
    assert record.status == "stopped"
    assert record.measures() == {}
    assert read_run(resume(record.folder.path).folder).status == "finished"


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path, "fedavg"), [stop_at("round", 1)])
    folder = RunFolder(next(tmp_path.iterdir()))
    with writing(folder):
        assert being_written(folder)
        with pytest.raises(SynopticError, match=r"being written by another process; follow it with: synoptic watch"):
            resume(folder.path)
    assert not being_written(folder)


def test_work_goes_on_counting_after_a_stop(tmp_path: Path) -> None:
    whole = run(small(tmp_path / "whole", "fedavg")).summary["work"]
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path / "parts", "fedavg"), [stop_at("round", 2)])
    assert resume(next((tmp_path / "parts").iterdir())).summary["work"] == whole


def test_missing_and_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    folder = run(small(tmp_path, "fedavg", "rounds=1")).folder
    summary = read_json(folder / "summary.json")
    with pytest.raises(SynopticError, match="there is no run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(SynopticError, match="has no recipe"):
        read_run(tmp_path)
    write_json(folder / "summary.json", {key: value for key, value in summary.items() if key != "metrics"})
    with pytest.raises(SynopticError, match=r"lacks metrics; remove the file and go on with: synoptic run --resume"):
        read_run(folder)
    (folder / "summary.json").write_text('{"method": ')
    with pytest.raises(SynopticError, match="not readable JSON"):
        read_run(folder)
    write_json(folder / "summary.json", summary)
    (folder / "events.jsonl").unlink()
    with pytest.raises(SynopticError, match=r"events.jsonl does not exist"):
        read_run(folder).events()
    (folder / "recipe.yaml").write_text("rounds: 3\n")
    with pytest.raises(SynopticError, match="not a run's resolved recipe"):
        read_run(folder)
    (folder / "recipe.yaml").write_text("rounds: [3\n")
    with pytest.raises(SynopticError, match=r"recipe\.yaml"):
        read_run(folder)


def test_what_a_method_logs_is_measured_as_its_mean_over_the_rounds_that_logged_it(tmp_path: Path) -> None:
    whole = read_run(run(small(tmp_path / "whole", "feddtl")).folder)
    logs = [event["log"] for event in whole.events() if event["type"] == "round"]
    assert ["kl" in log for log in logs] == [False, False, True, True]
    measured = whole.measures()
    assert measured["log/kl"] == (logs[2]["kl"] + logs[3]["kl"]) / 2
    assert measured["log/server_loss"] == pytest.approx(sum(log["server_loss"] for log in logs) / 4)
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path / "parts", "feddtl"), [stop_at("round", 2)])
    assert resume(next((tmp_path / "parts").iterdir())).summary["log"] == whole.summary["log"]
