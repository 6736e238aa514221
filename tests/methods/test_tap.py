from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from rooms import furthest, play, same, serve
from synoptic.adapters.blocks import blocks_of, owned
from synoptic.adapters.stack import expand, leaves, names, size_bytes
from synoptic.core import SynopticError
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.recipe import load_recipe, read_recipe
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import PersonalLeak
from synoptic.federation.personal import PersonalStore
from synoptic.learning.batches import plan, zip_steps
from synoptic.learning.fit import fit
from synoptic.learning.objectives.distill import distillation
from synoptic.learning.replacement import Held, moved, soft_steps
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.local import Local
from synoptic.methods.tap import TAP
from tasking import task_bench

ALONE = {"distil": {"epochs": 0}}


def tap(**settings: Any) -> TAP:
    return TAP(TAP.Settings.model_validate(ALONE | settings))


def personal(method: Any, on: Bench, rounds: int = 2, name: str = "model", **options: Any) -> dict[int, TensorDict]:
    """Everybody's own model after some rounds."""
    store = PersonalStore()
    play(method, serve(method, on, store=store, **options), rounds)
    return {client: store.load(client)[name] for client in store.clients()}  # type: ignore[misc]


def logs(method: Any, on: Bench, rounds: int) -> list[dict[str, float]]:
    server, found = serve(method, on), []
    method.begin(server)
    for t in range(rounds):
        server.round = t
        method.round(server, t)
        found.append(dict(server.log))
    return found


# -- reductions ------------------------------------------------------------------------------------------------------


def test_the_shared_model_is_fedavgs_bit_for_bit() -> None:
    on = task_bench()
    ours, theirs = (play(method, serve(method, on), 2).state.adapter for method in (tap(), FedAvg()))
    assert same(ours, theirs)


@pytest.mark.parametrize("order", ["paper", "corrected"])
def test_with_an_infinite_margin_it_is_local_bit_for_bit(order: str) -> None:
    on = task_bench()
    ours, theirs = personal(tap(margin="inf", order=order), on), personal(Local(), on, name="adapter")
    assert ours.keys() == theirs.keys() == {0, 1, 2}
    assert all(same(ours[client], theirs[client]) for client in ours)
    assert all(log["replaced"] == 0 for log in logs(tap(margin="inf", order=order), on, 2))


def test_with_a_margin_of_minus_infinity_everybody_adopts_every_round() -> None:
    on = task_bench()
    told = logs(tap(margin="-inf"), on, 2)
    assert [log["replaced"] for log in told] == [4, 4], "tasks of all clients together"
    assert [log["replacements/shapes"] + 10 * log["replacements/colours"] for log in told] == [22, 22]
    before = play(FedAvg(), serve(FedAvg(), on), 1).state.adapter
    for client, model in personal(tap(margin="-inf"), on).items():
        copy = trained(on, owned(before, blocks_of(model)), client, 1)
        assert furthest(model, trained(on, copy, client, 1)) < 1e-5


def trained(on: Bench, start: TensorDict, client: int, round_: int) -> TensorDict:
    """One client's local training."""
    steps = plan(on.data.clients.train(client), on.train, on.seed, round_, client)
    return fit(expand(start, 1), [steps], on.problem.loss(), on.train, on.train.lr).stack[0]


# -- the equation ----------------------------------------------------------------------------------------------------


def test_two_rounds_are_the_equation() -> None:
    """h_l[o] + m[o] < h_p[o], with mean losses while training, as an ordinary program for the client of both tasks."""
    on, client, margins = task_bench(), 2, {"shapes": 0.3, "colours": -0.1}
    shared = [on.new_adapter(), play(FedAvg(), serve(FedAvg(), on), 1).state.adapter]
    own, known, taken = on.new_adapter([client]), dict.fromkeys(margins, float("inf")), []
    for t, broadcast in enumerate(shared):
        copy, heard = told(on, owned(broadcast, blocks_of(own)), client, t)
        chosen = [name for name in margins if heard[name] + margins[name] < known[name]]
        path = {block for name in chosen for block in on.tasking.model.path(name)}  # type: ignore[union-attr]
        start = TensorDict(
            {name: (copy if "/".join(name.split("/")[:2]) in path else own)[name] for name in names(own)}
        )
        own, known = told(on, start, client, t)
        taken.append(chosen)
    assert taken[0] == ["shapes", "colours"], "nothing is known at first, and the paper's code takes that for infinity"
    assert taken[1] == ["colours"], "margins that tell the tasks apart, so that parts of paths are taken over"
    assert furthest(personal(tap(margins=margins), on)[client], own) < 1e-5


def told(on: Bench, start: TensorDict, client: int, round_: int) -> tuple[TensorDict, dict[str, float]]:
    """Plain gradient steps, and each task's mean loss on the way."""
    steps, one = plan(on.data.clients.train(client), on.train, on.seed, round_, client), expand(start, 1)
    said: dict[str, list[float]] = {"shapes": [], "colours": []}
    for batch in zip_steps([steps]):
        losses = on.problem.loss()(leaves(one), batch)[0]
        for name, loss in zip(on.data.train.domains[batch.rows[0]], losses, strict=True):  # type: ignore[index]
            said[on.data.train.domain_names[name]].append(float(loss))
        one = fit(one, [[batch.rows[0]]], on.problem.loss(), on.train, on.train.lr).stack
    return one[0], {name: float(np.mean(values)) for name, values in said.items()}


def test_larger_margins_replace_less_often() -> None:
    on = task_bench()
    counts = [logs(tap(margin=margin, first="keep"), on, 2)[1]["replaced"] for margin in (-9, -0.05, 0.05, 9, "inf")]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 4
    told = logs(tap(margin=9, margins={"colours": -9}, first="keep"), on, 2)[1]
    assert (told["replacements/shapes"], told["replacements/colours"], told["replaced"]) == (0, 2, 2), "task by task"
    assert counts[-1] == 0


def test_the_first_time_is_explicit() -> None:
    on = task_bench()
    assert logs(tap(first="keep"), on, 1)[0]["replaced"] == 0
    assert logs(tap(first="replace"), on, 1)[0]["replaced"] == 4


def test_the_corrected_order_compares_trained_models_on_the_same_rows() -> None:
    on, method = task_bench(), tap(order="corrected")
    store = PersonalStore()
    play(method, serve(method, on, store=store), 1)
    for client in store.clients():
        kept = store.load(client)
        model, kind = kept["model"], next(iter(on.data.kinds([client])))
        assert isinstance(model, TensorDict)
        held = on.tasking.held(model.unsqueeze(0), [on.data.clients.train(client)])  # type: ignore[union-attr]
        assert torch.allclose(kept["loss"], torch.cat([held[name].mean for name in kind]), atol=1e-6)  # type: ignore[arg-type]


# -- validation examples (ours) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", ["hard", "soft"])
def test_paired_decisions_never_make_a_validation_loss_worse(replace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on = task_bench(rows=20, validation=0.4)
    method, seen = tap(decide="paired", replace=replace, sure=0.0), []
    decided = TAP._by_pairs

    def spied(self: TAP, cohort: Any, own: TensorDict, copy: TensorDict) -> dict[str, torch.Tensor]:
        steps = decided(self, cohort, own, copy)
        seen.append((cohort.clients, own.clone(), copy.clone(), steps))
        return steps

    monkeypatch.setattr(TAP, "_by_pairs", spied)
    play(method, serve(method, on), 2)
    assert any(bool((step > 0).any()) for *_, steps in seen for step in steps.values()), "something is taken over"
    for clients, own, copy, steps in seen:
        aside = [on.data.clients.val(client) for client in clients]
        before, after = (on.tasking.held(stack, aside) for stack in (own, moved(own, copy, steps)))  # type: ignore[union-attr]
        assert all(bool((after[name].mean <= before[name].mean + 1e-6).all()) for name in before)


def test_a_task_without_validation_examples_is_never_taken_over() -> None:
    from dataclasses import replace as changed

    from synoptic.data.rows import Rows

    on = task_bench(validation=0.4)
    only = np.array([0, 0, 0, 0])
    first = on.data.clients.val(0)
    clients = changed(on.data.clients, val_rows=Rows.grouped(only[: len(first)], 3, first))
    on = changed(on, data=changed(on.data, clients=clients))
    copies = {1: personal(Local(), on, name="adapter")[1]}
    assert same(personal(tap(decide="paired"), on)[1], copies[1]), "as if it worked alone"


# -- stage 2 ---------------------------------------------------------------------------------------------------------


def test_the_last_stage_learns_from_data_and_teacher() -> None:
    """L + lambda T^2 KL(teacher, student), whose teacher is the last federated model, tuned to the client or not."""
    on, client = task_bench(archetypes=[("colours",)], batch_size=99), 0
    stage = {"epochs": 1, "weight": 0.7, "temperature": 2.0, "teacher_epochs": 0}
    before = personal(tap(), on)[client]
    teacher = play(FedAvg(), serve(FedAvg(), on), 2).state.adapter
    (rows,) = plan(on.data.clients.train(client), on.train, on.seed, 1, client)

    def loss(worn: Any, batch: Any) -> torch.Tensor:
        said, wanted = (logits(on, each, rows) for each in (worn, leaves(expand(teacher, 1))))
        return on.problem.loss()(worn, batch) + 0.7 * distillation(said, wanted.detach(), 2.0)

    expected = fit(expand(before, 1), [[rows]], loss, on.train, on.train.lr).stack[0]
    assert furthest(personal(tap(distil=stage), on)[client], expected) < 1e-5
    assert furthest(personal(tap(distil={**stage, "teacher_epochs": 1}), on)[client], expected) > 1e-4


def logits(on: Bench, worn: Any, rows: np.ndarray) -> torch.Tensor:
    assert on.tasking is not None
    model, table = on.tasking.model, on.tasking.train_rows
    return model.logits(worn, "colours", model.features(worn, "colours", table.given(worn, "colours", rows)))[None]


def test_without_a_teacher_the_last_stage_is_local_training() -> None:
    on = task_bench()
    before = personal(tap(), on)
    for client, model in personal(tap(distil={"weight": 0}), on).items():
        assert furthest(model, trained(on, before[client], client, 1)) < 1e-5


def test_the_last_stage_from_the_federated_model_is_fedavg_and_fine_tuning() -> None:
    on = task_bench()
    method, store = tap(distil={"weight": 0, "start": "federated"}), PersonalStore()
    server = play(method, serve(method, on, store=store), 2)
    for client in store.clients():
        model = store.load(client)["model"]
        assert isinstance(model, TensorDict)
        assert furthest(model, trained(on, on.owned(server.state.adapter, [client]), client, 1)) < 1e-5


@pytest.mark.parametrize("stage", [{"epochs": 0}, {"epochs": 1}])
def test_settling_moves_to_the_federated_model_as_far_as_validation_says(stage: dict[str, int]) -> None:
    """On top of whatever the last stage made: the joint loss never rises, and no task suffers."""
    on = task_bench(rows=20, validation=0.4)
    assert on.tasking is not None
    server = play(FedAvg(), serve(FedAvg(), on), 2)
    before, after = (personal(tap(distil=stage, settle=settle, sure=0.0), on) for settle in (False, True))
    moved_at_all = False
    for client in range(3):
        (kind,) = on.data.kinds([client])
        aside = [on.data.clients.val(client)]
        federated = expand(on.owned(server.state.adapter, [client]), 1)

        def measure(stack: TensorDict, aside: list[np.ndarray] = aside) -> dict[str, Held]:
            return on.tasking.held(stack, aside)  # type: ignore[union-attr]

        own = expand(before[client], 1)
        expected = moved(own, federated, soft_steps(own, federated, measure, 0.0))
        assert furthest(expected[0], after[client]) < 1e-5
        worn = measure(own), measure(expand(after[client], 1))
        assert all(bool((worn[1][name].mean <= worn[0][name].mean + 1e-6).all()) for name in kind)
        moved_at_all |= furthest(before[client], after[client]) > 1e-4
    assert moved_at_all


def test_settling_needs_validation_examples_and_is_left_out_of_recipes_without() -> None:
    method = tap(settle=True)
    with pytest.raises(
        SynopticError, match=r"method\.settle compares models on validation examples, and no client has"
    ):
        method.begin(serve(method, task_bench(validation=0)))
    plain, settled = (load_recipe("tap", settings) for settings in ([], ["method.settle=true"]))
    assert "settle" not in plain.resolved()["method"]
    assert settled.resolved()["method"]["settle"] is True
    assert plain.hash != settled.hash


def test_who_never_took_part_gets_the_federated_model_at_the_end() -> None:
    on = task_bench(groups=2)
    method = tap(distil={"weight": 0})
    store = PersonalStore()
    server = play(method, serve(method, on, store=store, participation=2), 2)
    absent = sorted(set(range(6)) - {client for t in range(2) for client in sampled(server, t)})
    assert absent
    for client in absent:
        model = store.load(client)["model"]
        assert isinstance(model, TensorDict)
        start = on.owned(server.state.adapter, [client])
        assert furthest(model, trained(on, start, client, 1)) < 1e-5


def sampled(server: Any, t: int) -> list[int]:
    server.round = t
    found: list[int] = server.sampled
    return found


# -- rules of the house ----------------------------------------------------------------------------------------------


def test_only_owned_blocks_travel_and_the_ledger_says_so() -> None:
    on, method = task_bench(), tap()
    server = serve(method, on)
    play(method, server, 2)
    blocks = [size_bytes(on.new_adapter([client])) for client in range(3)]
    assert server.ledger.total("down") == 2 * sum(blocks)
    tasks = [1, 1, 2]
    assert server.ledger.total("up") == 2 * (sum(blocks) + 3 * 3 * 4 + 4 * sum(tasks))
    assert size_bytes(server.state.adapter) < sum(blocks)


def test_personal_models_never_leave() -> None:
    on, method = task_bench(), tap(margin="-inf")
    server, store = serve(method, on, store=PersonalStore(), wire=True), None
    play(method, server, 1)
    replies = server.ask("train", to=[2], adapter=on.owned(server.state.adapter, [2]))
    assert set(replies.fields) == {"adapter", "examples", "loss", "replaced", "rows"}
    store = personal(method, on)[2]
    values = [store[name] for name in names(store) if name.endswith(("/B", "/up", "/out"))]
    sent = list(leaves(replies.adapter[0]).values())
    assert not any(torch.equal(one, other) for one in values for other in sent if one.shape == other.shape)


def test_what_equals_a_personal_model_by_chance_is_no_leak_but_the_model_itself_is() -> None:
    """A client alone in all its blocks, with one step a round, finds in round 1 what it took over in round 0."""
    on = task_bench(archetypes=[("colours",)], batch_size=99)
    assert len(logs(tap(), on, 3)) == 3

    class Leaky(TAP):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            fitted = cohort.fit(adapter)
            cohort.personal["model"] = fitted.stack
            return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, **cohort.rows)

    with pytest.raises(PersonalLeak):
        logs(Leaky(), on, 1)


def test_stacked_is_one_by_one() -> None:
    on = task_bench(groups=2)
    for settings in ({}, {"decide": "paired", "replace": "soft"}, {"settle": True}):
        stage = {"distil": {"teacher_epochs": 1}}
        together, alone = (personal(tap(**settings, **stage), on, stack=stack) for stack in (99, 1))
        assert all(furthest(together[client], alone[client]) < 1e-4 for client in range(6))


def test_it_learns_and_every_task_is_measured() -> None:
    on = task_bench(archetypes=[("shapes", "pictures"), ("pictures",)], rounds=4, optimizer="adamw", lr=0.01, epochs=2)
    method = TAP()
    server = serve(method, on)
    method.begin(server)
    before = evaluate(method, server, True, None).metrics
    after = evaluate(method, play(method, server, 4), True, None).metrics
    for model in ("shared", "personal"):
        assert after[f"{model}/local/pictures/error/mean"] < before[f"{model}/local/pictures/error/mean"] - 0.02
        assert after[f"{model}/local/skill/mean"] == pytest.approx(
            (after[f"{model}/local/shapes/skill/mean"] + after[f"{model}/local/pictures/skill/mean"]) / 2
        )
    assert "personal/domain/shapes/accuracy/mean" in after


# -- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["method.margin=nan"], "a margin is not a number"),
        (["method.margins={shapes: .nan}"], "a margin is not a number"),
        (["method.replace=soft"], r"method\.replace=soft tries each block on validation examples"),
        (["data=digits"], "tap is for clients with different tasks"),
    ],
)
def test_settings_that_make_no_sense(settings: list[str], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        load_recipe("tap", settings)


def test_infinite_margins_are_read_back(tmp_path: Path) -> None:
    recipe = load_recipe("tap", ["method.margin=-.inf", "method.margins={shapes: .inf}"])
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    again = read_recipe(tmp_path / "recipe.yaml")
    assert again.method.settings == recipe.method.settings
    assert again.hash == recipe.hash
    assert again.method.settings.margins == {"shapes": float("inf")}


def test_margins_of_nobodys_task_and_validation_of_nobody() -> None:
    method = tap(margins={"shape": 1.0})
    with pytest.raises(SynopticError, match="names 'shape', which is nobody's task; did you mean 'shapes'"):
        method.begin(serve(method, task_bench()))
    method = tap(decide="paired")
    with pytest.raises(SynopticError, match=r"no client has any; set data\.tasks\.validation"):
        method.begin(serve(method, task_bench(validation=0)))


def test_a_task_that_nobody_else_has_is_trained_alone() -> None:
    on = task_bench(archetypes=[("shapes",), ("colours",)])
    shared = play(tap(), serve(tap(), on), 1).state.adapter
    alone = trained(on, on.new_adapter([1]), 1, 0)
    for block in ("head/colours", "expert/text.colours", "mome/colours"):
        for name in blocks_of(alone)[block]:
            assert torch.allclose(shared[name], alone[name], atol=1e-6), name
