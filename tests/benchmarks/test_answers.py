"""Which answers scores teach: how it is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.answers import ANSWERS, NAMED, by_answer, table

from synoptic.core.files import read_json
from synoptic.data import DataSpec, build


def runs() -> dict[str, list[dict[str, Any]]]:
    def one(before: float, after: float, questions: int) -> dict[str, float]:
        return {"questions": questions, "sites": 2, "tokens": 3, "before": before, "after": after}

    return {label: [{"seed": seed, "answers": {"blue": one(0.5, place / 10, 4), "red": one(1.0, 0.0, 9)}}
                    for seed in range(2)] for place, label in enumerate(NAMED)}  # fmt: skip


def test_shares_are_of_the_questions_to_which_an_answer_is_right() -> None:
    data = build(
        DataSpec.model_validate({"source": "questions", "clients": 2, "questions": {"train": 12, "test": 6}}), 0
    )
    assert data.test.words is not None and data.train.words is not None
    truth = np.array(data.test.words.answers)[data.tests["global"]]
    after = truth.copy()
    after[0] = "nothing of the kind"
    found = by_answer(data, after, np.full(len(truth), "nothing"))
    assert sum(one["questions"] for one in found.values()) == len(truth)
    assert {one["before"] for one in found.values()} == {0.0}
    first = found[str(truth[0])]
    assert first["after"] == 1 - 1 / first["questions"]
    taught = [set(np.array(data.train.words.answers)[data.clients.train(client)]) for client in (0, 1)]
    assert all(one["sites"] == sum(name in some for some in taught) for name, one in found.items())


def test_the_table_has_the_most_frequent_answer_first() -> None:
    lines = table(runs())
    assert lines[2] == "| red | 3 | 9 | 2.0 | 100.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 |"
    assert lines[3] == "| blue | 3 | 4 | 2.0 | 50.0 ± 0.0 | 0.0 ± 0.0 | 10.0 ± 0.0 | 20.0 ± 0.0 | 30.0 ± 0.0 |"


def test_what_was_counted_is_what_the_runs_have_measured() -> None:
    for run in (one for some in read_json(ANSWERS.results)["runs"].values() for one in some):
        counted = [(one["questions"], one["after"]) for one in run["answers"].values()]
        right = sum(questions * share for questions, share in counted) / sum(questions for questions, _ in counted)
        assert right == pytest.approx(run["accuracy"])
