"""A surrogate of reward models on the server: Bayesian linear regression on frozen features of an answer.

    critic = Critic.fresh(clients, features, prior=1.0)
    ask_NG = critic.unsure(client, phi_MF, threshold)        # which answers to send
    critic = critic.seen(client, phi_mF, scores_m)           # what came back
    guess_M = critic.mean(client, phi_MF)

The posterior is in closed form and only sums are kept, so the order of scores does not matter. Weights have the prior
``N(0, s^2 / prior)`` and the noise's variance ``s^2`` an inverse gamma one of shape and scale 1, which says that scores
have a variance of about one until they say otherwise (Bishop 2006, section 3.3; Gelman et al. 2013, section 14.8).

Legend: K clients, M answers, m of them, F features, the last of them 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from tensordict import TensorDict
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Critic:
    """What is known of every client's scores; all float64.

    Attributes:
        precision: ``prior I + sum phi phi^T``, ``[K, F, F]``.
        moment: ``sum phi r``, ``[K, F]``.
        square: ``sum r^2``, ``[K]``.
        count: how many scores, ``[K]``.
    """

    precision: Tensor
    moment: Tensor
    square: Tensor
    count: Tensor

    @classmethod
    def fresh(cls, clients: int, features: int, prior: float) -> Critic:
        """Before any score."""
        eye = prior * torch.eye(features, dtype=torch.float64)
        return cls(eye.repeat(clients, 1, 1), torch.zeros(clients, features).double(), torch.zeros(clients).double(),
                   torch.zeros(clients).double())  # fmt: skip

    def seen(self, client: int, phi_mF: Tensor, scores_m: Tensor) -> Critic:
        """The posterior after a client's scores of some answers."""
        phi, scores = phi_mF.double(), scores_m.double()
        more = {"precision": phi.T @ phi, "moment": phi.T @ scores, "square": scores.square().sum(),
                "count": torch.tensor(float(len(scores)))}  # fmt: skip
        sums = {name: getattr(self, name).clone() for name in more}
        for name, value in more.items():
            sums[name][client] += value
        return replace(self, **sums)

    def mean(self, client: int, phi_MF: Tensor) -> Tensor:
        """Predicted scores ``[M]``: ``phi m`` with ``m = precision^-1 moment``."""
        mean: Tensor = phi_MF.double() @ torch.linalg.solve(self.precision[client], self.moment[client])
        return mean

    def noise(self, client: int) -> Tensor:
        """The posterior mean of the precision's inverse: ``(1 + (sum r^2 - m moment) / 2) / (1 + count / 2)``."""
        weights = torch.linalg.solve(self.precision[client], self.moment[client])
        left: Tensor = (self.square[client] - weights @ self.moment[client]).clamp(min=0)
        return (1 + left / 2) / (1 + self.count[client] / 2)

    def deviation(self, client: int, phi_MF: Tensor) -> Tensor:
        """How far the predicted mean may be off ``[M]``: ``sqrt(noise phi precision^-1 phi)``."""
        phi = phi_MF.double()
        spread: Tensor = (phi * torch.linalg.solve(self.precision[client], phi.T).T).sum(1)
        return (self.noise(client) * spread.clamp(min=0)).sqrt()

    def unsure(self, client: int, phi_MF: Tensor, threshold: float) -> Tensor:
        """Which answers to ask about, bool ``[M]``, one after the other: an answer that is like one that is asked
        about already, or is the same, need not be.

        That needs no scores: how unsure the prediction is depends on what was asked, not on what came back.
        """
        phi, noise = phi_MF.double(), self.noise(client)
        covariance = torch.linalg.inv(self.precision[client])
        asked = torch.zeros(len(phi), dtype=torch.bool)
        for place, row in enumerate(phi):
            towards = covariance @ row
            spread = row @ towards
            asked[place] = threshold == 0 or bool((noise * spread).sqrt() > threshold)
            if asked[place]:
                covariance = covariance - torch.outer(towards, towards) / (1 + spread)
        return asked

    def packed(self) -> TensorDict:
        """As a server's state keeps it."""
        return TensorDict({f"critic/{each.name}": getattr(self, each.name) for each in fields(self)}, batch_size=[])

    @classmethod
    def unpacked(cls, kept: TensorDict) -> Critic:
        """What `packed` packed."""
        return cls(*(kept[f"critic/{each.name}"] for each in fields(cls)))
