"""Routers: which client's reward model to trust for which input.

A router gives every client a logit for an input that is described by a frozen embedding (with an objective's embedding
behind it, where there are several objectives). Three ways to get one without anybody's data leaving: in closed form
from statistics (`discriminant`), one gate for each client, trained at home against what others' statistics say
(`fit_gate`), and a classifier of client numbers averaged over rounds (`index_step`), which is what one would try first
and what label skew hurts most.

Legend: K clients, n inputs, d features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from synoptic.core import SynopticError

SHRINKAGE = 0.1
"""Share of the covariance that is replaced by a multiple of the identity: with fewer examples than features it has no
inverse."""

SPREAD = 4.0
"""How much wider than all clients together the background is that stands for none of them."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a client tells of its inputs: how many, their mean ``[d]`` and their mean square: ``[d, d]`` or ``[d]``.

    The mean of outer products gives full covariances, the mean of squares diagonal ones, with a d-th of the numbers.
    """

    count: Tensor
    mean: Tensor
    second: Tensor

    @property
    def covariance(self) -> Tensor:
        """``[d, d]``, diagonal where only squares are known."""
        if self.second.ndim == 2:
            return self.second - torch.outer(self.mean, self.mean)
        return torch.diag((self.second - self.mean.square()).clamp(min=0))


def statistics(inputs_nd: Tensor, full: bool = True) -> Statistics:
    """A client's statistics, float64.

    Raises:
        SynopticError: no input, or one that is not finite.
    """
    inputs = inputs_nd.double()
    if not len(inputs):
        raise SynopticError("a client without inputs has no statistics for a router", "leave the client out")
    if not bool(torch.isfinite(inputs).all()):
        raise SynopticError("a router's input is not finite", "look at the embeddings of that client's data")
    second = inputs.T @ inputs / len(inputs) if full else inputs.square().mean(0)
    return Statistics(torch.tensor(float(len(inputs)), dtype=torch.float64), inputs.mean(0), second)


@dataclass(frozen=True, eq=False)
class Known:
    """Whether an input is anybody's: all clients' Gaussians against a wide one about everybody.

    Attributes:
        weight, bias: log-densities of K clients ``[K, d]``, ``[K]``, but for what they share.
        matrix, centre, constant: of the wide one, ``[d, d]``, ``[d]``, ``[]``, but for the same.
    """

    weight: Tensor
    bias: Tensor
    matrix: Tensor
    centre: Tensor
    constant: Tensor

    def odds(self, inputs_nd: Tensor) -> Tensor:
        """Log-odds ``[n]`` that an input is a client's, each as likely as the background."""
        inputs = inputs_nd.double()
        away = inputs - self.centre
        nobody = self.constant + ((away @ self.matrix) * away).sum(-1)
        return (inputs @ self.weight.T + self.bias).logsumexp(-1) - nobody


@dataclass(frozen=True, eq=False)
class Router:
    """Logits linear in the input: ``weight [K, d]`` and ``bias [K]``; and whether an input is ``known`` at all."""

    weight: Tensor
    bias: Tensor
    known: Known | None = None

    def logits(self, inputs_nd: Tensor) -> Tensor:
        """``[n, K]``."""
        return inputs_nd.double() @ self.weight.T + self.bias

    def odds(self, inputs_nd: Tensor) -> Tensor | None:
        """Log-odds ``[n]`` that an input is anybody's; None where the router does not ask."""
        return None if self.known is None else self.known.odds(inputs_nd)


def discriminant(
    clients: Sequence[Statistics], shrinkage: float = SHRINKAGE, prior: str = "uniform", spread: float = SPREAD
) -> Router:
    """Linear discriminant analysis from what clients told once (Fisher 1936): no training, no rounds.

    All clients share one covariance, the mean of theirs weighted by examples. What stands for none of them is a
    Gaussian about everybody's inputs, ``spread`` times as wide.

    Args:
        clients: K statistics.
        shrinkage: share of the covariance replaced by the identity times its mean variance.
        prior: ``uniform``, or ``count`` where a bigger client is likelier.
        spread: standard deviations of the background, relative to all inputs together.
    """
    counts = torch.stack([one.count for one in clients])
    share = counts / counts.sum()
    means = torch.stack([one.mean for one in clients])
    within = sum((s * one.covariance for s, one in zip(share, clients, strict=True)), torch.zeros(()))
    within = _shrunk(within, shrinkage)
    precision = torch.linalg.inv(within)
    weight = means @ precision
    bias = -0.5 * (weight * means).sum(1)
    if prior == "count":
        bias = bias + share.log()
    centre = share @ means
    apart = means - centre
    whole = _shrunk(within + apart.T @ (share[:, None] * apart), 0.0) * spread**2
    # A Gaussian's logarithm without the part that all clients share: -x' precision x / 2 and the constant of `within`.
    wide = -0.5 * torch.linalg.inv(whole)
    constant = 0.5 * (torch.logdet(within) - torch.logdet(whole))
    return Router(weight, bias, Known(weight, bias, *_square(wide, centre, constant, precision)))


def _square(wide: Tensor, centre: Tensor, constant: Tensor, precision: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``constant + (x - centre)' wide (x - centre) + x' precision x / 2`` as one square and a constant."""
    matrix = wide + 0.5 * precision
    middle = torch.linalg.solve(matrix, wide @ centre)
    return matrix, middle, constant + centre @ wide @ centre - middle @ matrix @ middle


def _shrunk(covariance: Tensor, share: float) -> Tensor:
    size = covariance.diagonal().mean().clamp(min=1e-12)
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    return (1 - share) * covariance + (share + 1e-6) * size * eye


def draw_others(
    clients: Sequence[Statistics], but: int, count: int, generator: torch.Generator
) -> Tensor:  # fmt: skip
    """``[count, d]`` inputs as the other clients might have them, as many of each, from Gaussians."""
    others = [one for place, one in enumerate(clients) if place != but]
    sizes = [count // len(others) + (place < count % len(others)) for place in range(len(others))]
    drawn = []
    for one, size in zip(others, sizes, strict=True):
        root = torch.linalg.cholesky(_shrunk(one.covariance, 0.0))
        noise = torch.randn(size, len(one.mean), generator=generator, dtype=torch.float64)
        drawn.append(one.mean + noise @ root.T)
    return torch.cat(drawn)


def fit_gate(inputs_nd: Tensor, capable_n: Tensor, others_md: Tensor, decay: float = 1e-2) -> tuple[Tensor, Tensor]:
    """One client's gate: is this an input on which my reward model is right? Weight ``[d]`` and bias ``[]``.

    Logistic regression, solved to its optimum by Newton's method, so that there are no local steps to choose. Own
    inputs on which the reward model is right stand against those on which it is not and against what other clients'
    statistics look like; both sides weigh the same.

    Args:
        inputs_nd: own inputs, of held-out pairs.
        capable_n: whether the reward model orders the pair correctly, 0..1.
        others_md: drawn by `draw_others`.
        decay: L2 penalty on the weights of inputs in standard deviations.

    Raises:
        SynopticError: the reward model is right on none of them, so there is nothing to open the gate for.
    """
    own, others, right = inputs_nd.double(), others_md.double(), capable_n.double()
    if not float(right.sum()) > 0:
        raise SynopticError("a reward model that orders none of its own pairs correctly has no gate",
                            "train it longer, or leave the client out")  # fmt: skip
    everything = torch.cat([own, others])
    target = torch.cat([right, torch.zeros(len(others), dtype=torch.float64)])
    weight = torch.cat([right / right.sum(), torch.zeros(len(others), dtype=torch.float64)])
    wrong = 1 - target
    weight = weight + wrong / wrong.sum().clamp(min=1e-12)
    centre, scale = everything.mean(0), everything.std(0, correction=0).clamp(min=1e-6)
    solved = _logistic((everything - centre) / scale, target, weight / weight.sum(), decay)
    slope = solved[:-1] / scale
    return slope, solved[-1] - slope @ centre


def _logistic(inputs: Tensor, target: Tensor, weight: Tensor, decay: float, steps: int = 50) -> Tensor:
    """Coefficients and bias of weighted logistic regression, by damped Newton steps."""
    design = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], dim=1)
    penalty = torch.full((design.shape[1],), decay, dtype=inputs.dtype)
    penalty[-1] = 1e-9
    solved = torch.zeros(design.shape[1], dtype=inputs.dtype)

    def objective(at: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(design @ at, target, reduction="none")
        return weight @ losses + 0.5 * (penalty * at.square()).sum()

    for _ in range(steps):
        chance = torch.sigmoid(design @ solved)
        slope = design.T @ (weight * (chance - target)) + penalty * solved
        curve = design.T @ ((weight * chance * (1 - chance))[:, None] * design) + torch.diag(penalty)
        move, now, length = torch.linalg.solve(curve, slope), objective(solved), 1.0
        while float(objective(solved - length * move)) > float(now) and length > 1e-6:
            length /= 2
        solved = solved - length * move
        if float(slope.abs().max()) < 1e-9:
            break
    return solved


def gated(weights_Kd: Tensor, biases_K: Tensor, clients: Sequence[Statistics]) -> Router:
    """A router of gates. Far from everybody a gate is as sure as it is wrong, so the statistics say what is known."""
    return Router(weights_Kd.double(), biases_K.double(), discriminant(clients).known)


def index_step(router: Router, inputs_nd: Tensor, client: int, steps: int, lr: float) -> Router:
    """Local gradient steps on "which client is this?", whose answer at a client is always the same.

    That is why averages of such routers drift to the biggest clients as local steps grow (`benchmarks.routing`).
    """
    weight, bias = router.weight.clone(), router.bias.clone()
    inputs = inputs_nd.double()
    truth = F.one_hot(torch.full((len(inputs),), client), len(bias)).double()
    for _ in range(steps):
        apart = ((inputs @ weight.T + bias).softmax(-1) - truth) / len(inputs)
        weight, bias = weight - lr * apart.T @ inputs, bias - lr * apart.sum(0)
    return Router(weight, bias)


def mixed(logits_nK: Tensor, temperature: float = 1.0, top: int | None = None, odds_n: Tensor | None = None) -> Tensor:
    """Weights of clients ``[n, K]``: a softmax over the ``top`` likeliest, times the chance that anybody knows it.

    ``top=K`` is fusion, ``top=1`` sends each input to one client. Without ``odds`` every row sums to one.
    """
    clients = logits_nK.shape[-1]
    top = clients if top is None else min(top, clients)
    kept = torch.zeros_like(logits_nK, dtype=torch.bool).scatter(-1, logits_nK.topk(top, dim=-1).indices, True)
    weights = torch.where(kept, logits_nK / temperature, -torch.inf).softmax(-1)
    return weights if odds_n is None else weights * torch.sigmoid(odds_n)[..., None]


def renormalised(weights_nK: Tensor, there_K: Tensor) -> Tensor:
    """Weights when some clients are gone: the others take over, row by row; a row nobody is left for is zero."""
    kept = weights_nK * there_K.to(weights_nK.dtype)
    total, before = kept.sum(-1, keepdim=True), weights_nK.sum(-1, keepdim=True)
    return torch.where(total > 0, kept / total.clamp(min=1e-300) * before, 0.0)


def imbalance(weights_nK: Tensor, prior_K: Tensor) -> Tensor:
    """``KL(mean load, prior)``: zero where everybody is asked as often as the prior says."""
    load = weights_nK.mean(0)
    load = load / load.sum()
    return (load * (load.clamp(min=1e-300) / prior_K).log()).sum()
