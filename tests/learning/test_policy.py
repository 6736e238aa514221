"""The policy loss against plain reference arithmetic, and what must not change it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from helpers import randomised
from rooms import BOTH, VISION, bench, digits, reference
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.stack import expand, leaves, select, stack_of
from synoptic.core.seeds import generator
from synoptic.federation.bench import Bench
from synoptic.learning.batches import plan, zip_steps
from synoptic.learning.classifier import ClassificationLoss
from synoptic.learning.fit import fit
from synoptic.learning.objectives.contrastive import classification_loss
from synoptic.learning.policy import MEASURES, PolicyLoss, PolicySpec, Table, hybrid_reference


def problem(on: Bench, texts: Tensor | None = None) -> ClassificationLoss:
    return on.classifier.loss(on.train_rows, on.data.train.labels, on.data.base_classes, texts)


def adapters(on: Bench, count: int, size: float = 0.1) -> TensorDict:
    return stack_of([randomised(on.new_adapter(), seed, size) for seed in range(count)])


def held(on: Bench, anchor: TensorDict, current: TensorDict, spec: PolicySpec) -> Table:
    return hybrid_reference(problem(on), np.arange(len(on.data.train)), anchor, current, spec)


def loss_of(on: Bench, spec: PolicySpec, table: Table, clients: list[int], supervised: bool = False) -> PolicyLoss:
    streams = [generator(0, "noise", client) for client in clients]
    epoch = [-(-len(on.data.clients.train(client)) // on.train.batch_size) for client in clients]
    return PolicyLoss(problem(on), spec, table, streams, epoch, supervised)


def plain(on: Bench, tensors: dict[str, Tensor], anchor_log_p: Tensor, rows: np.ndarray, spec: PolicySpec) -> Tensor:
    """The paper's loss as its equations say, on Hugging Face's model with merged weights: a value for each row."""
    model = reference(on.data)
    logits = model.logits(tensors, rows)
    log_p = logits.log_softmax(-1)
    place = {int(label): index for index, label in enumerate(on.data.base_classes)}
    labels = torch.tensor([place[int(label)] for label in on.data.train.labels[rows]])
    worn = {name: tensor.detach()[None] for name, tensor in tensors.items()}
    z, names = (side[0].detach() for side in problem(on).pair(worn, rows[None]))
    losses = []
    noise = torch.randn(len(rows), spec.group, z.shape[1], generator=generator(0, "noise", 0))
    for i in range(len(rows)):
        shaken = z[i] + spec.noise * z[i].norm() / z.shape[1] ** 0.5 * noise[i]
        actions = (shaken @ names.T).argmax(-1)
        rewards = (actions == labels[i]).double()
        std = rewards.std(unbiased=False)
        advantages = (rewards - rewards.mean()) / (std + 1e-8) if std > 0 else torch.zeros(spec.group)
        terms = []
        for j, action in enumerate(actions):
            rho = (log_p[i, action] - log_p[i, action].detach()).exp()
            gain = torch.min(rho * advantages[j], rho.clamp(1 - spec.clip, 1 + spec.clip) * advantages[j])
            u = (anchor_log_p[i, action] - log_p[i, action]).exp()
            terms.append(gain - spec.beta * (u - u.log() - 1))
        losses.append(-torch.stack(terms).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("adapter", [VISION, BOTH], ids=["vision", "both"])
def test_loss_and_gradient_are_those_of_the_equations(adapter: dict[str, Any]) -> None:
    on = bench(digits(), adapter)
    spec = PolicySpec(noise=1.5)
    anchor, own = (adapters(on, 2)[k] for k in range(2))
    rows = on.data.clients.train(0)[:6]
    table = held(on, anchor, anchor, spec)
    loss = loss_of(on, spec, table, [0])
    moved = {name: tensor.clone().requires_grad_() for name, tensor in leaves(own).items()}
    (batch,) = zip_steps([[rows]])
    ours = loss({name: tensor[None] for name, tensor in moved.items()}, batch)[0]
    theirs = plain(on, moved, table[rows[None]][0], rows, spec)
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-3, atol=1e-3)
    names = [name for name in moved if not name.endswith("/scale")]
    grads = [torch.autograd.grad(total.sum(), [moved[name] for name in names]) for total in (ours, theirs)]
    assert max(float(grad.abs().max()) for grad in grads[0]) > 0.1
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-3)
    assert 0 < float(loss.measures[0, MEASURES.index("zero_variance")]) < 1, "both kinds of group must be there"


def test_without_noise_every_group_agrees_and_nothing_moves() -> None:
    """F11: the encoder is deterministic, so G answers are one answer and no advantage is left."""
    on = bench(digits(), lr=0.01)
    spec, start = PolicySpec(noise=0.0), adapters(on, 1)[0]
    loss = loss_of(on, spec, held(on, start, start, spec), [0])
    fitted = fit(expand(start, 1), [plan(on.data.clients.train(0), on.train, 0, 0, 0)], loss, on.train, 0.01)
    assert all(torch.equal(fitted.stack[0][name], tensor) for name, tensor in leaves(start).items())
    measured = dict(zip(MEASURES, loss.measures[0].tolist(), strict=True))
    assert measured["zero_variance"] == 1.0
    assert measured["kl"] == 0.0
    assert 0 < measured["reward"] < 1


@pytest.mark.parametrize("changes", [{}, {"action": "sample"}, {"policy_gradient": "exact"}, {"old": "epoch"}])
def test_clients_side_by_side_learn_what_they_learn_alone(changes: dict[str, str]) -> None:
    on = bench(digits(), optimizer="sgd", lr=0.02, epochs=2)
    spec, start = PolicySpec.model_validate({"noise": 1.0, **changes}), adapters(on, 1)[0]
    table = held(on, adapters(on, 2)[1], start, spec)
    plans = [plan(on.data.clients.train(k), on.train, 0, 0, k) for k in range(4)]
    assert len({len(steps) for steps in plans}) > 1
    together = loss_of(on, spec, table, [0, 1, 2, 3])
    stacked = fit(expand(start, 4), plans, together, on.train, 0.02)
    for k in range(4):
        alone = loss_of(on, spec, table, [k])
        own = fit(expand(start, 1), [plans[k]], alone, on.train, 0.02)
        for name, tensor in leaves(own.stack[0]).items():
            torch.testing.assert_close(stacked.stack[k][name], tensor, rtol=0, atol=1e-5)
        torch.testing.assert_close(together.measures[k], alone.measures[0], rtol=0, atol=1e-4)


def test_the_supervised_control_is_cross_entropy_and_the_same_divergence() -> None:
    on = bench(digits())
    anchor, own = (adapters(on, 2)[k] for k in range(2))
    (batch,) = zip_steps([[on.data.clients.train(0)[:8]]])
    worn = leaves(expand(own, 1))
    spec = PolicySpec(noise=1.0)
    control = loss_of(on, spec, held(on, anchor, own, spec), [0], supervised=True)
    reinforced = loss_of(on, spec, held(on, anchor, own, spec), [0])
    none = loss_of(on, spec.model_copy(update={"beta": 0.0}), held(on, anchor, own, spec), [0], supervised=True)
    cross = classification_loss(on.classifier.similarities(*problem(on).pair(worn, batch.rows)),
                                problem(on).targets(batch.rows))  # fmt: skip
    torch.testing.assert_close(none(worn, batch), cross, rtol=1e-5, atol=1e-5)
    divergence = control(worn, batch) - cross
    assert float(divergence.max()) > 1e-3
    # On-policy the surrogate's value is the mean advantage, which is zero.
    torch.testing.assert_close(reinforced(worn, batch), divergence, rtol=1e-3, atol=1e-3)
    assert torch.equal(control.measures, reinforced.measures)


def test_the_exact_gradient_is_the_mean_of_sampled_ones() -> None:
    """Without noise, drawing from the softmax is on-policy; many draws come near the sum over all classes."""
    on = bench(digits())
    own = adapters(on, 1, 0.3)[0]
    rows = np.tile(on.data.clients.train(0)[:1], 400)
    (batch,) = zip_steps([[rows]])
    (single,) = zip_steps([[rows[:1]]])
    grads = []
    for changes, some in (({"policy_gradient": "exact"}, single), ({"action": "sample", "noise": 0.0}, batch)):
        spec = PolicySpec.model_validate({"beta": 0.0, "group": 64, **changes})
        loss = loss_of(on, spec, held(on, own, own, spec), [0])
        theta = {name: tensor.clone().requires_grad_() for name, tensor in leaves(expand(own, 1)).items()}
        name = next(name for name in theta if name.endswith("q_proj/B"))
        (grad,) = torch.autograd.grad(some.mean(loss(theta, some)).sum(), theta[name])
        grads.append(grad)
    assert float(grads[0].norm()) > 1e-3
    assert float((grads[0] - grads[1]).norm() / grads[0].norm()) < 0.1


def test_the_clip_can_act_only_when_the_old_policy_is_older_than_the_batch() -> None:
    on = bench(digits(), lr=0.02, epochs=3)
    start = adapters(on, 1)[0]
    fractions = {}
    for old in ("batch", "epoch"):
        spec = PolicySpec.model_validate({"noise": 2.0, "old": old, "beta": 0.0})
        loss = loss_of(on, spec, held(on, start, start, spec), [0])
        fit(expand(start, 1), [plan(on.data.clients.train(0), on.train, 0, 0, 0)], loss, on.train, 0.02)
        fractions[old] = float(loss.measures[0, MEASURES.index("clip_fraction")])
    assert fractions["batch"] == 0.0
    assert fractions["epoch"] > 0.0


def test_the_hybrid_reference_means_updates_or_probabilities() -> None:
    on = bench(digits())
    two, rows = adapters(on, 2), np.arange(5)
    p = [problem(on).log_probabilities(leaves(two[k : k + 1]), rows)[0].exp() for k in range(2)]
    mixed = held(on, two[0], two[1], PolicySpec(reference="probabilities", reference_mix=0.25))[rows[None]][0]
    torch.testing.assert_close(mixed.exp(), 0.25 * p[0] + 0.75 * p[1], rtol=1e-4, atol=1e-5)
    blended = held(on, two[0], two[1], PolicySpec(reference_mix=0.25))[rows[None]][0]
    merged = {name: tensor.clone() for name, tensor in leaves(two[0]).items()}
    for stem in lora_stems(two):
        update = 0.25 * dense(two[0], stem) + 0.75 * dense(two[1], stem)
        u, s, v = torch.linalg.svd(update)
        merged |= {f"{stem}/A": v, f"{stem}/B": u * s, f"{stem}/scale": torch.tensor(1.0)}
    torch.testing.assert_close(blended, reference(on.data).logits(merged, rows).log_softmax(-1), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("share", "which"), [(1.0, 0), (0.0, 1)])
@pytest.mark.parametrize("how", ["parameters", "probabilities"])
def test_with_all_of_one_share_the_reference_is_that_model(share: float, which: int, how: str) -> None:
    on = bench(digits())
    two, rows = adapters(on, 2), np.arange(6)
    table = held(on, two[0], two[1], PolicySpec.model_validate({"reference": how, "reference_mix": share}))
    alone = problem(on).log_probabilities(leaves(two[which : which + 1]), rows)[0]
    torch.testing.assert_close(table[rows[None]][0], alone, rtol=0, atol=1e-3)


def test_noise_is_relative_to_the_latent_or_absolute() -> None:
    latents = torch.tensor([[[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 10.0]]])
    assert PolicySpec(noise=0.4).deviation(latents).flatten().tolist() == pytest.approx([1.0, 2.0])
    assert PolicySpec(sigma=0.1).deviation(latents).flatten().tolist() == pytest.approx([0.1, 0.1])
    # The relative default is the paper's 0.1 on CLIP ViT-B/16: 512 dimensions, a latent of length ten.
    clip = torch.full((1, 1, 512), 10 / 512**0.5)
    assert float(PolicySpec().deviation(clip)) == pytest.approx(0.1, abs=0.005)


def test_given_names_are_used_as_they_are() -> None:
    on = bench(digits(), BOTH)
    worn, rows = leaves(adapters(on, 2)), on.data.clients.train(0)[None, :4].repeat(2, 0)
    names = on.classifier.texts({}, on.data.base_classes, 1)
    images, texts = problem(on, names).pair(worn, rows)
    assert texts is names
    vision = leaves(select(adapters(on, 2), "vision/*"))
    for given, own in itertools.zip_longest([images, texts], problem(on).pair(vision, rows)):
        assert torch.equal(given, own)
