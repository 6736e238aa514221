from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.learning.routing import (
    Router,
    discriminant,
    draw_others,
    fit_gate,
    gated,
    imbalance,
    index_step,
    mixed,
    renormalised,
    statistics,
)

WIDE = 5


def domains(seed: int, apart: float = 3.0, sizes: tuple[int, ...] = (120, 60, 30)) -> list[Tensor]:
    """Gaussian inputs of a few clients, float64."""
    rng = torch.Generator().manual_seed(seed)
    centres = apart * torch.eye(len(sizes), WIDE, dtype=torch.float64)
    return [centre + torch.randn(size, WIDE, generator=rng, dtype=torch.float64)
            for centre, size in zip(centres, sizes, strict=True)]  # fmt: skip


def whose(sizes: list[Tensor]) -> Tensor:
    return torch.cat([torch.full((len(some),), client) for client, some in enumerate(sizes)])


@given(st.integers(0, 500))
def test_statistics_of_parts_are_enough_for_discriminant_analysis(seed: int) -> None:
    """The router is scikit-learn's LDA on the pooled data, though no data were pooled."""
    parts = domains(seed)
    router = discriminant([statistics(part) for part in parts], shrinkage=0.0, prior="count")
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(torch.cat(parts), whose(parts))
    inputs = torch.cat(parts)
    ours = router.logits(inputs).log_softmax(-1)
    assert torch.allclose(ours, torch.from_numpy(theirs.predict_log_proba(inputs.numpy())), atol=2e-3)


@given(st.integers(0, 500))
def test_diagonal_statistics_are_the_diagonal(seed: int) -> None:
    (part, *_) = domains(seed)
    full, plain = statistics(part), statistics(part, full=False)
    assert torch.allclose(torch.diag(full.covariance.diagonal()), plain.covariance)
    assert plain.second.numel() == WIDE and full.second.numel() == WIDE**2


@given(st.integers(0, 500), st.floats(1.5, 6))
def test_what_is_known_is_told_by_the_odds_of_a_wide_gaussian(seed: int, spread: float) -> None:
    parts = domains(seed)
    told = [statistics(part) for part in parts]
    router = discriminant(told, shrinkage=0.0, spread=spread)
    inputs = torch.cat([torch.cat(parts), 20 * torch.randn(5, WIDE, dtype=torch.float64)])
    share = torch.tensor([len(part) for part in parts]).double() / 210
    means = torch.stack([part.mean(0) for part in parts])
    within = sum(s * part.T.cov(correction=0) for s, part in zip(share, parts, strict=True))
    whole = torch.cat(parts).T.cov(correction=0) * spread**2
    log_p = torch.stack([torch.distributions.MultivariateNormal(mean, within).log_prob(inputs) for mean in means], 1)
    background = torch.distributions.MultivariateNormal(torch.cat(parts).mean(0), whole).log_prob(inputs)
    odds = router.odds(inputs)
    assert odds is not None
    expected = (log_p.logsumexp(1) - background).tolist()
    assert odds.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_far_away_nobody_is_trusted() -> None:
    parts = domains(0)
    router = discriminant([statistics(part) for part in parts])
    near, far = parts[0][:20], torch.full((1, WIDE), 40.0, dtype=torch.float64)
    trusted = [float(mixed(router.logits(some), odds_n=router.odds(some)).sum(-1).mean()) for some in (near, far)]
    assert trusted[0] > 0.9
    assert trusted[1] < 1e-3


def test_a_bigger_client_is_likelier_only_if_asked_for() -> None:
    told = [statistics(part) for part in domains(0)]
    counted, uniform = discriminant(told, prior="count"), discriminant(told)
    apart = (counted.bias - uniform.bias).tolist()
    assert apart == pytest.approx([math.log(120 / 210), math.log(60 / 210), math.log(30 / 210)])


def test_fewer_inputs_than_features_still_give_a_router() -> None:
    told = [statistics(part[:2]) for part in domains(0)]
    assert bool(torch.isfinite(discriminant(told).weight).all())


@given(st.integers(0, 200))
def test_a_gate_is_weighted_logistic_regression(seed: int) -> None:
    own, *rest = domains(seed, apart=1.0)
    others = torch.cat(rest)
    right = (torch.arange(len(own)) % 4 > 0).double()
    weight, bias = fit_gate(own, right, others, decay=1e-2)
    inputs, target = torch.cat([own, others]), torch.cat([right, torch.zeros(len(others))])
    each = torch.where(target > 0, 1 / right.sum(), 1 / (1 - target).sum())
    centre, scale = inputs.mean(0), inputs.std(0, correction=0)
    theirs = LogisticRegression(C=1 / 1e-2, tol=1e-10, max_iter=1000)
    theirs.fit(((inputs - centre) / scale).numpy(), target.numpy(), sample_weight=(each / each.sum()).numpy())
    logits = theirs.decision_function(((inputs - centre) / scale).numpy())
    assert torch.allclose(inputs @ weight + bias, torch.from_numpy(logits), atol=1e-4)


def test_gates_open_at_home_and_close_where_the_reward_model_is_wrong() -> None:
    own, *rest = domains(1, apart=4.0, sizes=(400, 100, 100))
    right = (own[:, 3] > 0).double()
    weight, bias = fit_gate(own, right, torch.cat(rest))
    gate = torch.sigmoid(own @ weight + bias)
    assert float(gate[right > 0].mean()) > float(gate[right == 0].mean()) + 0.3
    assert float(torch.sigmoid(torch.cat(rest) @ weight + bias).mean()) < 0.2


def test_gates_route_as_the_closed_form_does() -> None:
    parts = domains(2, apart=3.0, sizes=(300, 200, 100))
    told = [statistics(part) for part in parts]
    gates = []
    for client, own in enumerate(parts):
        others = draw_others(told, client, 300, torch.Generator().manual_seed(client))
        gates.append(fit_gate(own, torch.ones(len(own)), others))
    router = gated(torch.stack([gate[0] for gate in gates]), torch.stack([gate[1] for gate in gates]), told)
    test = domains(3, apart=3.0, sizes=(200, 200, 200))
    found = [(some.logits(torch.cat(test)).argmax(1) == whose(test)).double().mean()
             for some in (router, discriminant(told))]  # fmt: skip
    assert float(found[0]) > float(found[1]) - 0.02 > 0.9
    far = torch.full((1, WIDE), 40.0, dtype=torch.float64)
    assert float(mixed(router.logits(far), odds_n=router.odds(far)).sum()) < 1e-3


def test_a_reward_model_that_is_never_right_has_no_gate() -> None:
    own, *rest = domains(0)
    with pytest.raises(SynopticError, match="orders none of its own pairs correctly"):
        fit_gate(own, torch.zeros(len(own)), torch.cat(rest))


def test_what_has_no_statistics_is_refused() -> None:
    with pytest.raises(SynopticError, match="without inputs"):
        statistics(torch.zeros(0, WIDE))
    with pytest.raises(SynopticError, match="not finite"):
        statistics(torch.full((2, WIDE), math.nan))


def test_others_look_like_their_statistics() -> None:
    parts = domains(4, sizes=(500, 300, 400))
    drawn = draw_others([statistics(part) for part in parts], 0, 4001, torch.Generator().manual_seed(0))
    assert len(drawn) == 4001
    assert torch.allclose(drawn[:2001].mean(0), parts[1].mean(0), atol=0.1)
    assert torch.allclose(drawn[2001:].T.cov(), parts[2].T.cov(), atol=0.25)


def test_an_index_step_is_gradient_descent_on_cross_entropy() -> None:
    (own, *_) = domains(5)
    weight, bias = torch.randn(3, WIDE).double().requires_grad_(), torch.randn(3).double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(own @ weight.T + bias, torch.full((len(own),), 1))
    slopes = torch.autograd.grad(loss, (weight, bias))
    stepped = index_step(Router(weight.detach(), bias.detach()), own, 1, steps=1, lr=0.3)
    assert torch.allclose(stepped.weight, weight.detach() - 0.3 * slopes[0])
    assert torch.allclose(stepped.bias, bias.detach() - 0.3 * slopes[1])


Logits = st.lists(st.floats(-30, 30), min_size=2, max_size=6)


@given(Logits, st.floats(0.1, 10), st.integers(1, 6))
def test_weights_are_a_softmax_over_the_likeliest(logits: list[float], temperature: float, top: int) -> None:
    given_ = torch.tensor([logits], dtype=torch.float64)
    weights = mixed(given_, temperature, top)
    assert float(weights.sum()) == pytest.approx(1)
    assert int((weights > 0).sum()) <= top
    if top >= len(logits):
        assert torch.allclose(weights, (given_ / temperature).softmax(-1))
    if top == 1:
        assert int(weights.argmax()) == int(given_.argmax()) or float(weights.max()) == 1


@given(Logits, st.floats(-30, 30))
def test_what_nobody_knows_is_trusted_to_nobody(logits: list[float], none: float) -> None:
    """At the odds of a closed form, "none of us" is one more class."""
    given_ = torch.tensor([logits], dtype=torch.float64)
    weights = mixed(given_, odds_n=given_.logsumexp(-1) - none)
    with_none = torch.tensor([[*logits, none]], dtype=torch.float64).softmax(-1)
    assert torch.allclose(weights, with_none[:, :-1], atol=1e-12)


@given(Logits, st.data())
def test_who_is_gone_leaves_its_weight_to_the_others(logits: list[float], data: st.DataObject) -> None:
    weights = mixed(torch.tensor([logits], dtype=torch.float64), 5.0)
    there = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits))))
    after = renormalised(weights, there)
    assert float(after.sum()) == pytest.approx(1.0 if bool(there.any()) else 0.0)
    assert not bool(after[0][~there].any())
    if bool(there.all()):
        assert torch.allclose(after, weights)


def test_imbalance_is_zero_at_the_prior_and_positive_elsewhere() -> None:
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert float(imbalance(prior.expand(4, 3), prior)) == pytest.approx(0)
    assert float(imbalance(torch.eye(3, dtype=torch.float64)[:1], prior)) == pytest.approx(math.log(2))
