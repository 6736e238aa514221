from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tensordict import TensorDict

import answerers
from asking import questions
from rewards import KINDS, LORA, reward_bench
from rooms import model, play, same, serve
from synoptic.adapters.peft_io import export_peft
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves, names
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData, build
from synoptic.data.rows import Rows
from synoptic.data.spec import DataSpec
from synoptic.experiment.ask import ask
from synoptic.experiment.display.numbers import headlines
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import run
from synoptic.federation.bench import make_bench
from synoptic.federation.cohort import PersonalLeak
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.learning.batches import plan
from synoptic.learning.objectives.preference import calibration
from synoptic.learning.rewarding import RewardSpec
from synoptic.learning.spec import TrainSpec
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.held_out import Training
from synoptic.methods.local import Local
from synoptic.methods.reward_model import RewardModel
from synoptic.models.cache import Budget

AVERAGE = RewardModel.Settings(federate="average")
SGD = {"optimizer": "sgd", "lr": 0.01, "clip_norm": 1.0}


def ended(method: Any, on: Any, rounds: int = 2, **options: Any) -> tuple[Any, PersonalStore]:
    """The server and the clients' state after some rounds and the end."""
    store = PersonalStore()
    server = play(method, serve(method, replace(on, rounds=rounds), store=store, **options), rounds)
    return server, store


def own(store: PersonalStore, client: int) -> TensorDict:
    adapter = store.load(client)["adapter"]
    assert isinstance(adapter, TensorDict)
    return adapter


def holding(sizes: list[int], validation: bool = False) -> FederatedData:
    """Questions of which client k holds the next ``sizes[k]``, one of them for validation if so."""
    data = questions(rejected=True)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    first = np.isin(np.arange(len(owner)), np.cumsum([0, *sizes[:-1]])) & validation
    rows = {"train_rows": Rows.grouped(np.where(first, -1, owner), len(sizes)),
            "val_rows": Rows.grouped(np.where(first, owner, -1), len(sizes))}  # fmt: skip
    return replace(data, clients=replace(data.clients, **rows))


# -- equations and reductions ---------------------------------------------------------------------


def test_a_round_is_the_equation() -> None:
    """Frozen features and a linear head: plain gradient descent on -log sigmoid(r+ - r-) + 0.01 (r+ + r-)^2."""
    on = reward_bench(adapter={}, optimizer="sgd", lr=1e-3)
    _, store = ended(RewardModel(), on, 1)
    for client in range(3):
        weight = torch.zeros(33, requires_grad=True)
        for rows in plan(on.data.clients.train(client), on.train, 0, 0, client):
            better, worse = (features @ weight for features in on.problem.train_scorer._reader.pair({}, rows))
            loss = (-F.logsigmoid(better - worse) + 0.01 * (better + worse) ** 2).mean()
            (grad,) = torch.autograd.grad(loss, weight)
            weight = (weight - 1e-3 * grad).detach().requires_grad_()
        torch.testing.assert_close(own(store, client)["reward/head/weight"], weight.detach(), rtol=0, atol=1e-5)


def test_without_federation_it_is_local_bit_for_bit() -> None:
    on = reward_bench()
    (_, ours), (_, theirs) = ended(RewardModel(), on), ended(Local(), on)
    for client in range(3):
        assert same(own(ours, client), own(theirs, client))


def test_averaged_it_is_fedavg_bit_for_bit() -> None:
    on = reward_bench()
    (ours, _), (theirs, _) = ended(RewardModel(AVERAGE), on), ended(FedAvg(), on)
    assert same(ours.state.adapter, theirs.state.adapter)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", [{}, LORA], ids=["head alone", "lora"])
def test_stacked_is_one_by_one(kind: str, adapter: Any) -> None:
    on = reward_bench(kind, adapter=adapter, **SGD)
    (_, one), (_, three) = (ended(RewardModel(), on, stack=stack) for stack in (1, 3))
    for client in range(3):
        for name in names(own(one, client)):
            torch.testing.assert_close(own(one, client)[name], own(three, client)[name], rtol=0, atol=1e-5)


# -- calibration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [None, AVERAGE], ids=["none", "average"])
def test_everybody_calibrates_on_its_own_held_out_pairs(settings: Any) -> None:
    on = reward_bench()
    server, store = ended(RewardModel(settings), on, participation=2)
    for client in range(3):
        worn = server.state.adapter if settings else store.load(client).get("adapter", on.new_adapter())
        scorer, rows = on.problem.train_scorer, on.data.clients.val(client)
        expected = calibration(*(scores[0] for scores in scorer.pairs(leaves(worn[None]), rows)))
        kept = store.load(client)["calibration"]
        torch.testing.assert_close(kept, torch.stack(list(vars(expected).values())))
        assert (server.state.accuracy[client], server.state.pairs[client]) == (expected.accuracy, len(rows))
    share = server.state.pairs / server.state.pairs.sum()
    assert server.log["held_out"] == pytest.approx(float(server.state.accuracy @ share))


@pytest.mark.parametrize("sizes", [[10, 20, 30], [2, 10, 40]])
def test_without_validation_pairs_some_are_held_out_of_training(sizes: list[int]) -> None:
    on = reward_bench(data=holding(sizes))
    who = [0, 1, 2]
    parts = [Training(Cohort(who, on, Personal(PersonalStore(), who), round_), 0.1) for round_ in (0, 7)]
    for place, size in enumerate(sizes):
        held, trained = parts[0].held[place], parts[0].positions[place]
        assert len(held) == max(1, round(0.1 * size)), "at least one"
        assert sorted([*held, *trained]) == on.data.clients.train(place).tolist()
        assert parts[1].held[place].tolist() == held.tolist(), "the same in every round"
    server, _ = ended(RewardModel(), on, 1)
    assert server.state.pairs.tolist() == [max(1, round(0.1 * size)) for size in sizes]
    assert server.work["examples"] == sum(sizes) - server.state.pairs.sum()


def test_with_validation_pairs_nothing_else_is_held_out() -> None:
    on = reward_bench(data=holding([10, 20, 30], validation=True))
    server, _ = ended(RewardModel(), on, 1)
    assert server.work["examples"] == 57
    assert server.state.pairs.tolist() == [1, 1, 1]


def test_who_has_a_single_pair_is_told_so_and_the_others_go_on() -> None:
    on = reward_bench(data=holding([1, 20, 30]))
    server, store = ended(RewardModel(), on, 1)
    (failure,) = server.failures
    assert (failure.client, failure.task) == (0, "calibrate")
    assert failure.reason == ("client 0 can hold out no pair to calibrate on: its 1 are about one picture and none is "
                              "for validation; give it pairs about a second picture.")  # fmt: skip
    assert server.state.pairs.tolist() == [0, 2, 3]
    assert sorted(store.clients()) == [0, 1, 2]


def test_a_model_that_gives_no_numbers_is_told_so() -> None:
    on = reward_bench()
    method = RewardModel()
    server, store = serve(method, on, store=(kept := PersonalStore())), kept
    method.begin(server)
    broken = on.new_adapter()
    broken["reward/head/weight"].fill_(torch.nan)
    store.store(1, {"adapter": broken})
    method.end(server)
    (failure,) = server.failures
    assert failure.client == 1
    assert "scores that are not finite" in failure.reason


# -- what leaves ----------------------------------------------------------------------------------


def test_of_a_reward_model_only_its_accuracy_and_the_number_of_pairs_leave() -> None:
    server, _ = ended(RewardModel(), reward_bench())
    sent = {kind: ways["up"] for kind, ways in server.ledger.summary()["by_kind"].items()}
    assert sent == {"train.examples": 24, "train.loss": 24, "calibrate.accuracy": 12, "calibrate.pairs": 12}
    assert server.ledger.total("down") == 0


def test_averaged_models_travel_and_nothing_of_the_calibration_does() -> None:
    server, _ = ended(RewardModel(AVERAGE), reward_bench(adapter={}))
    sent = server.ledger.summary()["by_kind"]
    assert sent["train.adapter"] == {"up": 2 * 3 * 33 * 4, "down": 2 * 3 * 33 * 4}
    assert sent["calibrate.adapter"] == {"up": 0, "down": 3 * 33 * 4}
    assert set(sent) == {"train.adapter", "train.examples", "train.loss", "calibrate.adapter", "calibrate.accuracy",
                         "calibrate.pairs"}  # fmt: skip


def test_a_task_that_sends_a_clients_own_model_stops_the_run() -> None:
    class Leaky(RewardModel):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict | None = None) -> Replies:
            super().train(cohort)
            fitted = cohort.fit(cohort.bench.new_adapter())
            return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss)

    with pytest.raises(PersonalLeak, match="is personal"):
        play(Leaky(), serve(Leaky(), reward_bench()), 1)


# -- it learns ------------------------------------------------------------------------------------


@cache
def pairs() -> FederatedData:
    asked = {"train": 60, "test": 40, "kinds": ("colour", "shape"), "rejected": True}
    return build(DataSpec.model_validate({"source": "questions", "clients": 3, "questions": asked}), 0)


def learned(data: FederatedData, settings: Any = None) -> dict[str, float]:
    train = TrainSpec(lr=3e-3, epochs=2)
    on = make_bench(model(), data, AdapterSpec(), train, 0, 3, Budget(2**26), settings or RewardSpec())
    method = RewardModel(settings)
    server = play(method, serve(method, on), 3)
    return evaluate(method, server, True, None).metrics


@pytest.mark.parametrize("federate", ["none", "average"])
def test_it_learns_to_tell_true_answers_from_false_ones(federate: str) -> None:
    metrics = learned(pairs(), RewardModel.Settings(federate=federate))
    kind = "shared" if federate == "average" else "personal"
    assert metrics[f"{kind}/local/preference/mean"] > 0.7
    assert metrics[f"{kind}/global/preference/mean"] > 0.7


def test_and_it_does_so_by_looking_at_the_pictures() -> None:
    data = pairs()
    shown = np.random.default_rng(0).permutation(len(data.test))
    blind = replace(data, test=replace(data.test, images=data.test.take(shown).images))
    assert abs(learned(blind)["personal/global/preference/mean"] - 0.5) < 0.12


# -- recipes --------------------------------------------------------------------------------------


def test_by_default_it_learns_from_questions_with_rejected_answers() -> None:
    recipe = load_recipe("reward_model")
    assert recipe.data.source == "questions"
    assert recipe.data.questions is not None and recipe.data.questions.rejected
    assert recipe.model == "tiny-vlm"
    same_data = load_recipe("reward_model", ["data=questions", "data.questions.train=7", "model=tiny-clip"])
    assert same_data.data.questions is not None and same_data.data.questions.rejected
    assert same_data.model == "tiny-clip"


def test_other_data_bring_nothing_of_the_defaults_with_them() -> None:
    assert load_recipe("reward_model", ["data=digits"]).data == load_recipe("fedavg", ["data=digits"]).data
    own_data = ["data=parquet:pairs.parquet", "data.question=q", "data.rejected=worse"]
    assert load_recipe("reward_model", own_data).data == load_recipe("fedavg", own_data).data


def test_data_without_pairs_are_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="learns from pairs of answers, and digits/train has classes"):
        run(load_recipe("reward_model", ["data=digits", f"output={tmp_path}"]))
    assert list(tmp_path.iterdir()) == []


def test_a_reward_model_is_not_asked_for_answers(tmp_path: Path) -> None:
    on = reward_bench(adapter={})
    export_peft(on.new_adapter(), tmp_path / "judge", on.model)
    Image.new("RGB", (32, 32)).save(tmp_path / "picture.png")
    with pytest.raises(SynopticError, match="is a reward model: it scores answers and gives none; ask an adapter that"):
        ask(tmp_path / "judge", [tmp_path / "picture.png"], ["what colour is it ?"], str(answerers.folder("llava")))


def test_without_an_accuracy_the_preference_is_what_one_watches() -> None:
    assert headlines({"personal/local/loss/mean": 0.5, "personal/local/preference/mean": 0.754}) == (
        "personal/local preference 75.4 %"
    )
