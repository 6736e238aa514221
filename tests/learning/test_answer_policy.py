"""GRPO on answers against plain reference arithmetic, and what must not change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tensordict import TensorDict
from torch import Tensor

from answerers import base
from rolling import adapter, plain_log_p, ragged, roll, seen, worn
from rooms import furthest, same
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves, stack_of
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.data.federated import build
from synoptic.data.spec import DataSpec
from synoptic.federation.state import State
from synoptic.learning.answer_policy import (
    MEASURES,
    AnswerPolicyLoss,
    AnswerPolicySpec,
    Judged,
    Stepped,
    minibatches,
    step,
)
from synoptic.learning.answer_rows import AnswerRows
from synoptic.learning.batches import Batch, zip_steps
from synoptic.learning.fit import fit
from synoptic.learning.optim import no_moments
from synoptic.learning.rollouts import Rollout, log_probabilities
from synoptic.learning.spec import TrainSpec
from synoptic.models.answerer import Answerer
from synoptic.models.cache import Budget
from synoptic.models.load import shared_model

FIVE = np.array([[5, 0, 3, 2, 6]])


def rewards(rollout: Rollout, seed: int = 0) -> Tensor:
    """Any numbers, with one group of equal ones."""
    found = torch.rand(rollout.ids.shape[:2], generator=torch.Generator().manual_seed(seed))
    found[1] = 0.5
    return found


def batch_of(*rows: list[int]) -> Batch:
    return Batch(np.arange(len(rows)), np.array(rows), torch.ones(len(rows), len(rows[0])))


def loss_of(
    rows: AnswerRows, rollout: Rollout, judged: Tensor | Judged, family: str = "llava", **spec: Any
) -> AnswerPolicyLoss:
    judged = judged if isinstance(judged, Judged) else Judged(judged)
    return AnswerPolicyLoss(base(family), rows, rollout, judged, AnswerPolicySpec(**spec))


def plain(log_p: Tensor, log_ref: Tensor, rollout: Rollout, reward: Tensor, spec: AnswerPolicySpec) -> Tensor:
    """The loss of a batch as its equations say, token by token, over answers whose log-probabilities are known."""
    answers, everything, groups = [], [], []
    for n, lengths in enumerate(rollout.length.tolist()):
        apart = reward[n] - reward[n].mean()
        std = apart.square().mean().sqrt()
        for g, length in enumerate(lengths):
            a = apart[g] / (std + 1e-8) if std > 0 else 0.0
            terms = []
            for t in range(length):
                rho = (log_p[n, g, t] - rollout.log_old[n, g, t]).exp()
                u = (log_ref[n, g, t] - log_p[n, g, t]).exp()
                gain = torch.min(rho * a, rho.clamp(1 - spec.clip, 1 + spec.clip) * a)
                terms.append(gain - spec.beta * (u - u.log() - 1))
            answers.append(torch.stack(terms).mean())
            everything += terms
        groups.append(torch.stack(answers[-len(lengths) :]).mean())
    return -torch.stack(groups if spec.per == "answer" else everything).mean()


@pytest.mark.parametrize(("family", "per"), [("llava", "answer"), ("llava", "token"), ("qwen2_vl", "answer")])
def test_loss_and_gradient_are_those_of_the_equations(family: str, per: str) -> None:
    """Merged weights in the library's own model; the policy has left the one that drew, so the clip acts."""
    rows, old = seen(family), worn(family, "upper blocks")
    rollout = ragged(roll(family, old, rows, FIVE))
    spec = AnswerPolicySpec.model_validate({"per": per, "beta": 0.3, "group": 4})
    one = adapter(family, "upper blocks", seed=1)
    theirs = {name: t.clone().requires_grad_(not name.endswith("scale")) for name, t in leaves(one).items()}
    ours = {name: t.detach()[None].clone().requires_grad_(t.requires_grad) for name, t in theirs.items()}
    reward = rewards(rollout)
    with torch.no_grad():
        log_ref = plain_log_p(family, {}, rows, rollout)
    # The library's model refuses a picture's token in an answer; any other token does as well.
    fine = replace(rollout, ids=torch.where(log_ref.isnan(), base(family).end, rollout.ids), hidden=None)
    with torch.no_grad():
        log_ref = plain_log_p(family, {}, rows, fine)
    loss = loss_of(rows, fine, reward, family, per=per, beta=0.3)
    batch = batch_of([0, 1, 2, 3, 4])
    found = batch.mean(loss(ours, batch))[0]
    expected = plain(plain_log_p(family, theirs, rows, fine), log_ref, fine, reward, spec)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    found.backward()
    expected.backward()
    for name, tensor in theirs.items():
        if tensor.requires_grad:
            assert tensor.grad is not None and ours[name].grad is not None
            torch.testing.assert_close(ours[name].grad[0], tensor.grad, rtol=1e-3, atol=1e-4)
    assert max(float(t.grad.abs().max()) for t in theirs.values() if t.grad is not None) > 0.01
    measured = dict(zip(MEASURES, loss.measures[0].tolist(), strict=True))
    assert 0 < measured["clip_fraction"] < 1
    assert measured["zero_variance"] == pytest.approx(0.2)
    assert measured["reward"] == pytest.approx(float(reward.mean()), abs=1e-6)
    assert measured["length"] == pytest.approx(float(rollout.length.float().mean()), abs=1e-5)


@pytest.mark.parametrize("per", ["answer", "token"])
def test_the_order_of_prompts_and_of_a_group_does_not_matter(per: str) -> None:
    rows, stack = seen(), worn(clients=1)
    rollout = ragged(roll("llava", stack, rows, FIVE))
    reward, members = rewards(rollout), torch.tensor([2, 0, 3, 1])
    turned = replace(rollout, ids=rollout.ids[:, members], length=rollout.length[:, members],
                     log_old=rollout.log_old[:, members], hidden=None)  # fmt: skip
    one = loss_of(rows, rollout, reward, per=per)(stack, batch_of([0, 1, 2, 3, 4]))
    two = loss_of(rows, turned, reward[:, members], per=per)(stack, batch_of([0, 1, 2, 3, 4]))
    three = loss_of(rows, rollout, reward, per=per)(stack, batch_of([3, 1, 4, 0, 2]))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one[:, [3, 1, 4, 0, 2]], three, rtol=1e-4, atol=1e-5)


def test_per_token_every_token_counts_the_same_and_per_answer_every_answer() -> None:
    """With a beta alone the loss is a mean of divergences: over tokens, or over answers of different lengths."""
    rows, stack = seen(), worn()
    rollout = ragged(roll("llava", stack, rows, FIVE))
    equal, batch = torch.ones(5, 4), batch_of([0, 1, 2, 3, 4])
    log_p = log_probabilities(base(), stack, rows, rollout, np.arange(5))
    u = log_probabilities(base(), {}, rows, rollout, np.arange(5)) - log_p
    k3, counted = u.exp() - u - 1, rollout.counted
    per_token = k3[counted].mean()
    per_answer = torch.stack([k3[n, g][counted[n, g]].mean() for n in range(5) for g in range(4)]).mean()
    for per, expected in (("token", per_token), ("answer", per_answer)):
        found = batch.mean(loss_of(rows, rollout, equal, per=per, beta=1.0)(stack, batch))[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert abs(float(per_token - per_answer)) > 1e-4


def test_given_advantages_stand_for_the_groups_own() -> None:
    rows, stack = seen(), worn()
    rollout = roll("llava", stack, rows, FIVE)
    reward, batch = rewards(rollout), batch_of([0, 1, 2, 3, 4])
    own = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, unbiased=False, keepdim=True) + 1e-8)
    one = loss_of(rows, rollout, reward)
    two = loss_of(rows, rollout, Judged(reward * 7 - 3, own))
    three = loss_of(rows, rollout, Judged(reward, -own))
    values = [loss(stack, batch) for loss in (one, two, three)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-5)
    assert float(two.measures[0, 0]) == pytest.approx(float(one.measures[0, 0]) * 7 - 3, abs=1e-4)
    # On-policy a surrogate's value is the mean advantage over an answer's tokens, zero; gradients tell them apart.
    moved = worn(clients=2)
    moved = {name: tensor[1:] for name, tensor in moved.items()}
    assert not torch.allclose(one(moved, batch), three(moved, batch), atol=1e-3)


def test_clients_side_by_side_learn_what_they_learn_alone() -> None:
    rows, start = seen(), stack_of([adapter(seed=seed) for seed in range(2)])
    rollout = ragged(roll("llava", leaves(start), rows, np.array([[0, 1, 2], [4, 7, 6]])))
    reward, plans = rewards(rollout), [[np.array([0, 1]), np.array([2])], [np.array([3, 4, 5])]]
    spec = TrainSpec(optimizer="sgd")
    together = loss_of(rows, rollout, reward)
    stacked = fit(start, plans, together, spec, 0.5)
    for k in range(2):
        alone = loss_of(rows, rollout, reward)
        own = fit(start[k : k + 1], plans[k : k + 1], alone, spec, 0.5)
        assert furthest(stacked.stack[k], own.stack[0]) < 1e-5
        torch.testing.assert_close(together.measures[k], alone.measures[0], rtol=0, atol=1e-4)
    assert furthest(stacked.stack, start) > 1e-3


# -- whole steps -------------------------------------------------------------------------------------------------------


def says_red(positions: np.ndarray, texts: list[list[str]]) -> Tensor:
    """How much of an answer is one word: something that the base says now and then."""
    return torch.tensor([[text.split().count("red") / max(len(text.split()), 1) for text in row] for row in texts])


def learned(
    steps: int, reward: Any = says_red, first: int = 0, last: Stepped | None = None, stop: bool = False, **spec: Any
) -> tuple[Stepped, list[dict[str, float]]]:
    how = AnswerPolicySpec(**({"tokens": 5, "lr": 0.02, "minibatch": 8} | spec))
    rows = seen()
    now = last or Stepped(adapter(size=0.0), no_moments(), {}, 0)
    measures = []
    for t in range(first, steps):
        now = step(base(), now.adapter, rows, np.arange(8), reward, how, now.moments, generator(0, "step", t))
        measures.append(now.measures)
        if stop:
            state, again = State(), State()
            state.adapter, state.moments = now.adapter, now.moments
            again.load(state.dump())
            now = Stepped(again.adapter, again.moments, now.measures, now.steps)
    return now, measures


@pytest.mark.parametrize("spec", [{}, {"per": "token", "updates": 2, "minibatch": 4}, {"temperature": 0.7}])
def test_it_learns_what_it_is_rewarded_for(spec: dict[str, Any]) -> None:
    _, measures = learned(12, **spec)
    assert measures[0]["reward"] < 0.15
    assert np.mean([each["reward"] for each in measures[-3:]]) > 0.6
    assert measures[0]["kl"] < 0.1 < measures[-1]["kl"]
    assert measures[-1]["entropy"] < measures[0]["entropy"]


def test_the_embedded_model_learns_to_say_more_about_the_worlds_questions() -> None:
    """It is sure of its answers, so it is drawn from hot; the reward is a taste and not the truth."""
    spec = {"source": "questions", "clients": 2, "questions": {"train": 12, "test": 4, "kinds": ["colour", "shape"]}}
    data = build(DataSpec.model_validate(spec), 0)
    model = shared_model("tiny-vlm")
    assert isinstance(model, Answerer)
    rows = AnswerRows(model, data.train, np.arange(len(data.train)), Budget(2**24))
    lora = {"lora": {"layers": 2, "targets": ["q", "v", "o", "fc1", "fc2"]}}
    now = Stepped(model.new_adapter(AdapterSpec.model_validate({"text": lora}), 0), no_moments(), {}, 0)
    how = AnswerPolicySpec(tokens=6, temperature=2.0, lr=0.02)

    def says_more(positions: np.ndarray, texts: list[list[str]]) -> Tensor:
        return torch.tensor([[min(len(text.split()), 3) / 3 for text in row] for row in texts])

    found = []
    for t in range(10):
        some = generator(0, "ask", t)
        positions = torch.randperm(len(rows.rows(np.arange(24))), generator=some)[:8].numpy()
        now = step(model, now.adapter, rows, positions, says_more, how, now.moments, some)
        found.append(now.measures)
    assert found[0]["reward"] < 0.6
    assert np.mean([one["reward"] for one in found[-2:]]) > 0.8
    assert found[-1]["length"] > found[0]["length"] + 1


def test_a_strong_divergence_keeps_the_policy_at_the_base() -> None:
    free, kept = learned(8, beta=0.0)[1], learned(8, beta=100.0, lr=0.005)[1]
    assert free[-1]["kl"] > 0.05
    assert kept[-1]["kl"] < 0.005
    assert kept[-1]["kl"] >= 0


def test_equal_rewards_change_nothing_without_a_divergence() -> None:
    start = adapter()
    first = Stepped(start, no_moments(), {}, 0)
    done, measures = learned(2, lambda positions, texts: torch.full((8, 8), 0.3), last=first, beta=0.0, updates=2)
    assert same(done.adapter, start)
    assert measures[0]["zero_variance"] == 1.0
    assert measures[0]["grad_norm"] == 0.0
    assert measures[0]["kl"] > 0, "it is told, though nobody pulls"


def test_a_fresh_adapter_is_the_base_and_feels_no_rounding_errors() -> None:
    """Equal rewards, a strong pull towards the base, and Adam, which makes whole steps of the smallest gradients."""
    start = adapter(size=0.0)
    first = Stepped(start, no_moments(), {}, 0)
    done, measures = learned(2, lambda positions, texts: torch.zeros(8, 8), last=first, beta=1.0)
    assert same(done.adapter, start)
    assert measures[0]["kl"] == 0.0


@pytest.mark.parametrize("spec", [{}, {"updates": 2, "minibatch": 3}])
def test_stop_after_any_step_and_resume_bit_for_bit(spec: dict[str, Any]) -> None:
    whole, _ = learned(4, **spec)
    first, _ = learned(2, stop=True, **spec)
    second, _ = learned(4, first=2, last=first, stop=True, **spec)
    assert same(second.adapter, whole.adapter)
    assert all(torch.equal(second.moments[name], whole.moments[name]) for name in ("first", "second", "steps"))
    assert not same(first.adapter, whole.adapter)


def test_the_judge_is_told_who_said_what_and_a_failure_changes_nothing() -> None:
    asked: list[tuple[list[int], tuple[int, ...]]] = []

    def judge(positions: np.ndarray, texts: list[list[str]]) -> Tensor:
        asked.append((positions.tolist(), np.shape(texts)))
        raise TimeoutError("all clients are gone")

    start, moments, rows = adapter(), no_moments(), seen()
    before = start.clone()
    with pytest.raises(TimeoutError):
        step(base(), start, rows, np.array([3, 1, 1]), judge, AnswerPolicySpec(group=2, tokens=3), moments,
             generator(0, "step"))  # fmt: skip
    assert asked == [([3, 1, 1], (3, 2))]
    assert same(start, before) and not list(moments.keys())


def test_a_schedule_may_set_another_rate() -> None:
    how, rows = AnswerPolicySpec(tokens=4, lr=0.01), seen()
    made: list[TensorDict] = [
        step(base(), adapter(), rows, np.arange(4), says_red, how.model_copy(update={"lr": own}), no_moments(),
             generator(0, "step"), lr).adapter
        for own, lr in ((0.01, None), (0.5, 0.01), (0.01, 0.03))
    ]  # fmt: skip
    assert same(made[0], made[1])
    assert not same(made[0], made[2])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_every_pass_takes_every_prompt_once(count: int, size: int, updates: int) -> None:
    spec = AnswerPolicySpec(minibatch=size, updates=updates)
    steps = minibatches(count, spec, generator(0, "order"))
    each = -(-count // size)
    assert len(steps) == each * updates
    for u in range(updates):
        assert sorted(np.concatenate(steps[u * each : (u + 1) * each]).tolist()) == list(range(count))
    assert all(0 < len(some) <= size for some in steps)


@pytest.mark.parametrize(
    ("given", "message"),
    [(torch.zeros(8, 3), r"the rewards of a rollout came as \(8, 3\) and not as \(8, 8\); give one for each answer"),
     (torch.full((8, 8), torch.nan), "a reward of the rollout is not a finite number; leave out whoever gave it"),
     (Judged(torch.zeros(8, 8), torch.zeros(8)), r"the advantages of a rollout came as \(8,\) and not as \(8, 8\)"),
     (Judged(torch.zeros(8, 8), torch.full((8, 8), torch.inf)), "an? advantage of the rollout is not a finite")],
)  # fmt: skip
def test_what_a_judge_may_not_say(given: Tensor | Judged, message: str) -> None:
    with pytest.raises(SynopticError, match=message):
        learned(1, lambda positions, texts: given)


@pytest.mark.parametrize("bad", [{"group": 1}, {"temperature": 0}, {"clip": 0}, {"beta": -1}, {"per": "batch"},
                                 {"top_p": 0}, {"learning_rate": 1}])  # fmt: skip
def test_settings_that_make_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AnswerPolicySpec.model_validate(bad)


def test_short_batches_are_padded_and_padding_counts_nothing() -> None:
    rows, stack = seen(), worn(clients=2)
    rollout = ragged(roll("llava", stack, rows, np.array([[0, 1, 2], [4, 7, 6]])))
    reward = rewards(rollout)
    (batch,) = zip_steps([[np.array([0, 1, 2])], [np.array([3])]])
    for per in ("answer", "token"):
        both = loss_of(rows, rollout, reward, per=per)
        value = batch.mean(both(stack, batch))
        one = loss_of(rows, rollout, reward, per=per)
        alone = one({name: tensor[1:] for name, tensor in stack.items()}, batch_of([3]))
        torch.testing.assert_close(value[1:], alone[:, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(both.measures[1], one.measures[0], rtol=1e-4, atol=1e-5)
