from __future__ import annotations

import pytest
import torch

from synoptic.adapters.stack import leaves, names
from synoptic.data.tasks import task_of
from synoptic.learning.batches import zip_steps
from synoptic.learning.fit import fit, watched
from synoptic.learning.replacement import Held
from synoptic.learning.task_tally import Known, Tally, known_of
from tasking import drawn, task_bench

NAMES = ("colours", "shapes")


def test_a_tally_is_each_tasks_mean_over_the_rows_of_all_steps() -> None:
    on = task_bench(archetypes=[("shapes", "colours")], groups=2)
    assert on.tasking is not None
    stack = drawn(on.tasking.model, ["shapes", "colours"], 2)
    rows = [on.data.clients.train(client) for client in range(2)]
    # The second client has more steps, so it is trained first in the stack.
    plans = [[rows[0][:9]], [rows[1][:5], rows[1][5:8], rows[1][8:]]]
    tally, loss = Tally(on.tasking.train_rows, NAMES, 2), on.tasking.loss()
    one = fit(stack, plans, watched(loss, tally), on.train, 1e-9)
    two = fit(stack, plans, loss, on.train, 1e-9)
    assert all(torch.equal(one.stack[name], two.stack[name]) for name in names(stack)), "watching changes nothing"
    for k, steps in enumerate(plans):
        said: dict[int, list[float]] = {0: [], 1: []}
        for batch in zip_steps([steps]):
            losses = loss(leaves(stack[k : k + 1]), batch)[0]
            for index, each in zip(task_of(on.data.train, batch.rows[0]), losses, strict=True):
                said[int(index)].append(float(each))
        for column, name in enumerate(NAMES):
            mine = said[on.data.train.domain_names.index(name)]
            assert float(tally.known.mean[k, column]) == pytest.approx(sum(mine) / len(mine), rel=1e-4)
    assert tally.known.there.all()


def test_what_nobody_saw_is_not_known() -> None:
    on = task_bench()
    assert on.tasking is not None
    empty = Tally(on.tasking.train_rows, NAMES, 2).known
    assert not empty.there.any()
    assert not empty.mean.any()
    held = {"shapes": Held(torch.tensor([[2.0, 4.0], [5.0, 9.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))}
    known = known_of(held, NAMES)
    assert known.mean.tolist() == [[0, 3], [0, 0]]
    assert known.there.tolist() == [[False, True], [False, False]]


def test_what_is_known_anew_takes_the_place_of_what_was() -> None:
    before = Known(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[True, True, False]]))
    now = Known(torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[True, False, False]]))
    after = now.after(before)
    assert after.mean.tolist() == [[9.0, 2.0, 0.0]]
    assert after.there.tolist() == [[True, True, False]]
