from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.grpo import _agree, _figures, tiny_vlm
from benchmarks.peers.trl import ours
from benchmarks.peers.trl.job import MARK, Job, read, reward

from answerers import base
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import names


def job(**more: Any) -> Job:
    settings = {"batch": 2, "group": 3, "tokens": 4, "layers": (1, 2), "blocks": 3}
    return Job(**{"questions": ("a", "b", "c", "d"), **settings, **more})


def test_a_job_comes_back_from_its_folder(tmp_path: Path) -> None:
    pictures = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    job().write(tmp_path, pictures)
    again, seen = read(tmp_path)
    assert again == job()
    assert again.steps == 2
    assert np.array_equal(seen, pictures)


def test_the_other_sides_adapt_the_same_weights_as_ours() -> None:
    theirs = {name for name, _ in base().model.named_modules() if re.fullmatch(job().target, name)}
    lora = {"lora": {"layers": 2, "targets": ["q", "v"]}}
    ours = names(base().new_adapter(AdapterSpec.model_validate({"text": lora}), 0))
    assert {name.split("/lora/")[1].rsplit("/", 1)[0] for name in ours} == theirs
    assert len(theirs) == 4


def test_a_group_of_different_answers_has_different_rewards() -> None:
    assert reward(["red", "a blue star", ""]) == [3 / 20, 9 / 20, 0]


def test_figures_are_medians_of_neighbours() -> None:
    steps = {side: [{"tokens": tokens, "seconds": s, "processor_seconds": s / 2} for tokens, s in some]
             for side, some in {"synoptic": [(9, 9.0), (40, 1.0), (60, 2.0)],
                                "trl": [(9, 1.0), (40, 4.0), (30, 2.0)]}.items()}  # fmt: skip
    memory, last = {"synoptic": (100, 150), "trl": (100, 300)}, {side: {"versions": {}} for side in steps}
    found = _figures("case", job(), steps, memory, last, 1)
    assert found.figures == {"case_over_trl": 3.0, "case_processor_over_trl": 3.0, "case_memory_of_trl": 0.25}
    assert found.repeats["case_over_trl"] == [4.0, 2.0]
    assert found.seconds["case"]["trl"] == [1.0, 4.0, 2.0]


def test_sides_that_ask_something_else_are_not_timed() -> None:
    _agree({"synoptic": {"greedy": ["red"]}, "trl": {"greedy": ["red"]}})
    with pytest.raises(RuntimeError, match="answers differently by side"):
        _agree({"synoptic": {"greedy": ["red"]}, "trl": {"greedy": ["blue"]}})


def test_our_side_takes_every_step_that_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = tiny_vlm(tmp_path, quick=True).steps
    monkeypatch.setattr("sys.stdin", io.StringIO("go\n" * steps))
    ours.main(tmp_path)
    said = [json.loads(line.removeprefix(MARK)) for line in capsys.readouterr().out.splitlines()]
    assert [sorted(one) for one in said] == [
        ["resident"],
        *[["processor_seconds", "seconds", "tokens"]] * steps,
        ["greedy", "peak", "versions"],
    ]
    assert all(one["tokens"] > 0 for one in said[1:-1])
