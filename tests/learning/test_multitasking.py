from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from helpers import base, randomised
from synoptic.adapters.blocks import Upload, mean_per_block, owned, touched
from synoptic.adapters.stack import expand, leaves, names
from synoptic.core import SynopticError
from synoptic.data.questions import VALUES
from synoptic.data.task_spec import TaskWorldSpec
from synoptic.data.task_world import ASKED, TASKS, build_tasks
from synoptic.data.tasks import TaskData, task_of
from synoptic.learning.batches import plan, zip_steps
from synoptic.learning.fit import Fitted, fit
from synoptic.learning.multitasking import MultiTasking, distilled, row_losses
from synoptic.learning.replacement import paired, replaced, soft_steps
from synoptic.learning.spec import TrainSpec
from synoptic.models.cache import Budget
from synoptic.models.load import load_dual_encoder
from synoptic.models.multitask import MultiTask, MultiTaskSpec

ALL = tuple(TASKS)
SGD = TrainSpec(epochs=2, batch_size=8, optimizer="sgd", lr=0.1)


@cache
def everything(clients: int = 3, cached: bool = True) -> tuple[TaskData, MultiTasking]:
    """Clients who have all five tasks, on the session's random CLIP."""
    data = build_tasks(TaskWorldSpec(archetypes=(ALL,), groups=clients, train=6, test=3), 0)
    model = MultiTask(base(), data.tasks, MultiTaskSpec(rank=8, head_rank=8, heads=2))
    return data, MultiTasking(model, data, Budget(2**26) if cached else None)


def stack_for(problem: MultiTasking, clients: int, seed: int = 0) -> TensorDict:
    return randomised(expand(problem.model.new_adapter(ALL, 0), clients), seed, 0.2)


def plans(data: TaskData, clients: list[int], train: TrainSpec) -> list[list[np.ndarray]]:
    return [plan(data.clients.train(client), train, 0, 0, client) for client in clients]


# -- losses --------------------------------------------------------------------------------------------------------


def test_a_batch_of_several_tasks_has_each_rows_own_loss() -> None:
    data, problem = everything()
    worn = leaves(stack_for(problem, 3))
    batch = next(zip_steps(plans(data, [0, 1, 2], TrainSpec(batch_size=11))))
    found = problem.loss()(worn, batch)
    tasks = task_of(data.train, batch.rows)
    assert len(np.unique(tasks)) == len(ALL)
    for k in range(3):
        mine = {name: tensor[k : k + 1] for name, tensor in worn.items()}
        for place in range(11):
            row = batch.rows[k : k + 1, place : place + 1]
            alone = row_losses(problem.train_rows, mine, ALL[tasks[k, place]], row)
            assert torch.allclose(found[k, place], alone[0, 0], atol=1e-4)
    shares = sum((tasks[0] == o).mean() * found[0, torch.from_numpy(tasks[0] == o)].mean() for o in range(len(ALL)))
    assert torch.allclose(batch.mean(found)[0], torch.as_tensor(shares, dtype=torch.float32), atol=1e-5)


def test_padding_costs_nothing() -> None:
    data, problem = everything()
    worn = leaves(stack_for(problem, 2))
    ragged = [[data.clients.train(0)[:9]], [data.clients.train(1)[:4]]]
    batch = next(zip_steps(ragged))
    found = problem.loss()(worn, batch)
    assert found[1, 4:].tolist() == [0.0] * 5
    assert (found[0] > 0).all()


def test_stacked_training_is_one_by_one_with_ragged_sizes_and_mixed_tasks() -> None:
    data, problem = everything()
    start = stack_for(problem, 3)
    steps = [[rows[: 8 - 2 * k] for rows in some] for k, some in enumerate(plans(data, [0, 1, 2], SGD))]
    steps[1] = steps[1][:-1]
    together = fit(start, steps, problem.loss(), SGD, SGD.lr)
    for k in range(3):
        alone = fit(start[k : k + 1], steps[k : k + 1], problem.loss(), SGD, SGD.lr)
        for name in names(start):
            assert torch.allclose(together.stack[name][k], alone.stack[name][0], atol=1e-5), name
        assert together.steps[k] == alone.steps[0] > 0


def test_the_cache_changes_nothing() -> None:
    data, problem = everything()
    _, uncached = everything(cached=False)
    worn = leaves(stack_for(problem, 3))
    batch = next(zip_steps(plans(data, [0, 1, 2], TrainSpec(batch_size=11))))
    assert torch.allclose(problem.loss()(worn, batch), uncached.loss()(worn, batch), atol=1e-5)


# -- scores --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_scores_are_each_clients_own(name: str) -> None:
    data, problem = everything()
    stack, rows = stack_for(problem, 2), data.tests[f"domain/{name}"]
    found = problem.score(stack, rows, name)
    assert set(found) == ({"error", "loss"} if name == "pictures" else {"accuracy", "loss"})
    for k in range(2):
        alone = problem.score(stack[k : k + 1], rows, name)
        assert all(torch.allclose(found[quantity][k], alone[quantity][0], atol=1e-5) for quantity in found)
    assert found["loss"].shape == (2, len(rows))
    assert torch.allclose(found["loss"], row_losses(problem.test_rows, leaves(stack), name, np.tile(rows, (2, 1))),
                          atol=1e-5)  # fmt: skip


def test_tasks_are_scored_one_at_a_time() -> None:
    data, problem = everything()
    with pytest.raises(
        SynopticError, match=r"split 'local' holds rows of the tasks shapes, corrections, colours, pictures"
    ):
        problem.score(stack_for(problem, 1), data.clients.test(0), "local")
    with pytest.raises(SynopticError, match="wears nothing"):
        problem.score({}, data.tests["domain/shapes"], "domain/shapes")


def test_held_out_losses_are_by_task_and_client() -> None:
    data, problem = everything()
    stack = stack_for(problem, 3)
    own = [data.clients.val(0), data.clients.val(1)[:2], data.clients.val(2)]
    found = problem.held(stack, own)
    assert set(found) == set(ALL)
    for index, name in enumerate(ALL):
        for k, rows in enumerate(own):
            mine = rows[task_of(data.train, rows) == index]
            assert found[name].count[k] == len(mine)
            if len(mine):
                one = {key: tensor[k : k + 1] for key, tensor in leaves(stack).items()}
                expected = row_losses(problem.train_rows, one, name, mine[None]).mean()
                assert torch.allclose(found[name].mean[k], expected, atol=1e-5)


# -- distillation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_nobody_learns_anything_from_itself(name: str) -> None:
    data, problem = everything()
    student, teacher = (leaves(stack_for(problem, 2, seed)) for seed in (0, 1))
    rows = np.stack([data.clients.train(k)[task_of(data.train, data.clients.train(k)) == ALL.index(name)]
                     for k in range(2)])  # fmt: skip
    itself = distilled(problem.train_rows, student, student, name, rows, 2.0)
    assert torch.allclose(itself, torch.zeros(rows.shape), atol=1e-5)
    assert (distilled(problem.train_rows, student, teacher, name, rows, 2.0) > 1e-4).all()


def test_a_weight_of_zero_is_training_without_a_teacher() -> None:
    data, problem = everything()
    worn, teacher = (leaves(stack_for(problem, 3, seed)) for seed in (0, 1))
    batch = next(zip_steps(plans(data, [0, 1, 2], TrainSpec(batch_size=11))))
    plain, zero = problem.loss()(worn, batch), problem.distilling(teacher, {"shapes": 0.0})(worn, batch)
    assert torch.equal(plain, zero)
    some = problem.distilling(teacher, {"shapes": 1.0, "captions": 0.5}, 2.0)(worn, batch)
    changed = (some - plain).abs() > 1e-6
    tasks = torch.from_numpy(task_of(data.train, batch.rows))
    assert torch.equal(changed, (tasks == ALL.index("shapes")) | (tasks == ALL.index("captions")))


def test_every_client_has_its_own_teacher_however_many_steps_it_takes() -> None:
    data, problem = everything()
    start, teacher = stack_for(problem, 3), stack_for(problem, 3, 1)
    all_of = [data.clients.train(client) for client in range(3)]
    # The last client has most steps and is trained first; the first is done after one.
    steps = [[all_of[0][:6]], [all_of[1][:7], all_of[1][7:]], [all_of[2][:4], all_of[2][4:8], all_of[2][8:]]]
    weight = dict.fromkeys(ALL, 1.0)
    together = fit(start, steps, problem.distilling(leaves(teacher), weight), SGD, SGD.lr)
    for k in range(3):
        own = problem.distilling(leaves(teacher[k : k + 1]), weight)
        alone = fit(start[k : k + 1], steps[k : k + 1], own, SGD, SGD.lr)
        assert all(torch.allclose(together.stack[name][k], alone.stack[name][0], atol=1e-5) for name in names(start))


# -- tasks kept apart ------------------------------------------------------------------------------------------------


def test_features_of_different_tasks_are_driven_apart_by_each_client_for_itself() -> None:
    data, problem = everything()
    start = stack_for(problem, 2)
    batches = list(zip_steps(plans(data, [0, 1], TrainSpec(epochs=6, batch_size=12))))
    cosine = problem.apart(1.0)
    before = cosine(leaves(start), batches[0])
    assert ((before > 0) & (before < 1)).all()
    assert torch.allclose(problem.apart(0.5)(leaves(start), batches[0]), before / 2)
    steps = [[batch.rows[k] for batch in batches] for k in range(2)]
    one = fit(start, steps, problem.loss(), SGD, SGD.lr, penalty=problem.apart(5.0))
    none = fit(start, steps, problem.loss(), SGD, SGD.lr)
    assert (cosine(leaves(one.stack), batches[0]) < cosine(leaves(none.stack), batches[0])).all()
    alone = fit(start[1:], steps[1:], problem.loss(), SGD, SGD.lr, penalty=problem.apart(5.0))
    assert all(torch.allclose(one.stack[name][1], alone.stack[name][0], atol=1e-5) for name in names(start))


# -- bricks together -----------------------------------------------------------------------------------------------


def test_a_round_by_hand_over_clients_with_different_tasks() -> None:
    spec = TaskWorldSpec(archetypes=(("shapes",), ("questions",), ("shapes", "colours")), groups=2, train=10, test=3)
    data = build_tasks(spec, 0)
    model = MultiTask(base(), data.tasks, MultiTaskSpec(rank=8, head_rank=8, heads=2))
    problem = MultiTasking(model, data, Budget(2**26))
    server = model.new_adapter([task.name for task in data.tasks], 0)
    paths = {name: model.path(name) for name in model.tasks}
    for _ in range(2):
        uploads = []
        for tasks, clients in data.kinds(range(6)).items():
            start = expand(owned(server, model.blocks(tasks)), len(clients))
            fitted = fit(start, plans(data, clients, SGD), problem.loss(), SGD, SGD.lr)
            assert (fitted.steps > 0).all(), "everybody trains"
            counts = {task: torch.tensor([float((task_of(data.train, data.clients.train(k)) == i).sum())
                                          for k in clients])
                      for i, task in enumerate(model.tasks) if task in tasks}  # fmt: skip
            uploads.append(Upload(clients, fitted.stack, touched(paths, counts)))
            _personal_models_take_over(problem, data, start, fitted, clients)
        before, server = server, mean_per_block(server, uploads)
        assert all(
            not torch.equal(before[name], server[name]) for name in names(server) if name.endswith(("/B", "/up"))
        )


def _personal_models_take_over(
    problem: MultiTasking, data: TaskData, personal: TensorDict, fitted: Fitted, clients: list[int]
) -> None:
    own = [data.clients.val(client) for client in clients]
    before, after = problem.held(personal, own), problem.held(fitted.stack, own)
    better = {name: paired(before[name], after[name]).better(1.0) for name in before}
    for name, gains in better.items():
        taken = replaced(personal, fitted.stack, dict.fromkeys(problem.model.path(name), gains))
        now = problem.held(taken, own)[name]
        assert torch.equal(now.mean, torch.where(gains, after[name].mean, before[name].mean))
    steps = soft_steps(personal, fitted.stack, lambda stack: problem.held(stack, own), steps=(1.0,))
    assert set(steps) == {block for name in before for block in problem.model.path(name)}


# -- it learns -----------------------------------------------------------------------------------------------------

CHANCE = {"shapes": 1 / 16, "colours": 1 / 10, "corrections": 1 / 10, "pictures": 1.0}
"""Of labels, the accuracy of a guess; of pictures, the error of one grey tone."""


def blind(data: TaskData, problem: MultiTasking, name: str, rows: np.ndarray) -> float:
    """The lowest loss of a head that does not look at its input: the entropy of answers, per token of each."""
    values = {fact: len(words) for fact, words in VALUES.items()}
    kinds = [data.test.class_names[label] for label in data.test.labels[rows]]
    described = values["texture"] * values["colour"] * values["shape"]
    answers = [len(ASKED) * values[kind] if name == "questions" else described for kind in kinds]
    return float((torch.tensor(answers).log() / problem.test_rows.answers(name, rows).counted.sum(1)).mean())


@pytest.mark.parametrize("name", ALL)
def test_every_head_learns_on_the_world(name: str) -> None:
    data = build_tasks(TaskWorldSpec(archetypes=((name,),), groups=1, train=320, test=100), 0)
    problem = MultiTasking(MultiTask(load_dual_encoder("tiny-clip"), data.tasks), data, Budget(2**27))
    train = TrainSpec(steps=50, batch_size=32, lr=3e-3)
    start, rows = expand(problem.model.new_adapter([name], 0), 1), data.tests[f"domain/{name}"]
    fitted = fit(start, plans(data, [0], train), problem.loss(), train, train.lr)
    scores = {quantity: float(values.mean()) for quantity, values in problem.score(fitted.stack, rows, name).items()}
    if TASKS[name].kind == "classify":
        assert scores["accuracy"] > 2 * CHANCE[name]
    elif TASKS[name].kind == "reconstruct":
        assert scores["error"] < CHANCE[name] / 4
    else:
        assert scores["loss"] < blind(data, problem, name, rows) - 0.2
        _writes_what_it_is_sure_of(problem, fitted.stack, name, rows)
        _needs_its_own_inputs(problem, fitted.stack, name, rows)


def _writes_what_it_is_sure_of(problem: MultiTasking, stack: TensorDict, name: str, rows: np.ndarray) -> None:
    right = problem.score(stack, rows, name)["accuracy"][0] > 0
    worn, table = leaves(stack), problem.test_rows.table
    seen = problem.model.features(worn, name, problem.test_rows.given(worn, name, rows))
    written = problem.model.writer.write(worn, problem.model.writing(name), seen, 8)
    assert table.words is not None
    assert all(text == table.words.answers[row] for text, row, sure in zip(written, rows, right, strict=True) if sure)
    assert len(set(written)) > 3, "what is written depends on what is seen"


def _needs_its_own_inputs(problem: MultiTasking, stack: TensorDict, name: str, rows: np.ndarray) -> None:
    """The answers of other rows are less likely: the head is really conditioned."""
    worn, model = leaves(stack), problem.model
    answers = problem.test_rows.answers(name, rows)
    likelihood = []
    for some in (rows, np.roll(rows, 1)):
        seen = model.features(worn, name, problem.test_rows.given(worn, name, some))
        likelihood.append(float(model.writer.scores(worn, model.writing(name), seen, answers).mean.mean()))
    assert likelihood[0] > likelihood[1] + 0.3
