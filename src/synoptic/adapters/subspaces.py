"""Do clients move a weight alike? Agreement of what they read, of where they write, and of the whole update.

Three things can agree at a site, and each allows another thing to be shared. *Inputs*: clients read the same
directions, so A can be shared. *Outputs*: they write into the same directions, so B can. Whole *updates*: they write
the same answer to what they read, so both can. Two clients may read and write the same directions and mean opposite
things; then their spaces agree and their updates do not.

A client's update is ``B A = U S V^T``. Outputs are columns of ``U S^(1/2)``; ``V S^(1/2)`` completes the update. Inputs
are the rows of ``A - A_0``, weighted by ``(B^T B)^(1/2)``: rows of A itself agree for no better reason than that all
started from one A_0. All three are blind to the choice of basis inside a pair: ``(B R, R^-1 A)`` changes no number.

A client sends none of its factors but a `summary`: these columns seen from a random reference of m directions that
everybody draws from the same seed, 3 m r numbers for a site.

Legend: K clients, D inputs, O outputs, W either, r rank, m directions of the reference, N summaries.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-30


def root(gram_Krr: Tensor) -> Tensor:
    """The symmetric square root of positive semi-definite matrices."""
    values, vectors = torch.linalg.eigh(gram_Krr)
    result: Tensor = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT
    return result


def moved_inputs(A_KrD: Tensor, B_KOr: Tensor, A0_rD: Tensor) -> Tensor:
    """What moved among the inputs: ``(A - A_0)^T (B^T B)^(1/2)``, ``[K, D, r]``, float64."""
    B = B_KOr.double()
    return (A_KrD.double() - A0_rD.double()).mT @ root(B.mT @ B)


def halves_of_update(A_KrD: Tensor, B_KOr: Tensor) -> tuple[Tensor, Tensor]:
    """``U S^(1/2)`` ``[K, O, r]`` and ``V S^(1/2)`` ``[K, D, r]`` of ``B A = U S V^T``, float64, from r x r cores."""
    Q_B, R_B = torch.linalg.qr(B_KOr.double())
    Q_A, R_A = torch.linalg.qr(A_KrD.double().mT)
    U, S, Vh = torch.linalg.svd(R_B @ R_A.mT)
    weight = S.sqrt()[..., None, :]
    return Q_B @ U * weight, Q_A @ Vh.mT * weight


def reference(width: int, directions: int, rng: torch.Generator) -> Tensor:
    """Orthonormal directions ``[width, m]``, uniformly random; all of them where m reaches the width."""
    if directions >= width:
        return torch.eye(width, dtype=torch.float64)
    drawn: Tensor = torch.linalg.qr(torch.randn(width, directions, generator=rng, dtype=torch.float64))[0]
    return drawn


def summary(columns_KWr: Tensor, reference_Wm: Tensor) -> Tensor:
    """What a client tells of some columns: how they look from the reference, at norm one; ``[K, m, r]``, float32.

    Zero where the columns are.
    """
    seen = reference_Wm.mT @ columns_KWr
    norm = torch.linalg.matrix_norm(seen)[..., None, None]
    told: Tensor = (seen / norm.clamp(min=TINY)).float()
    return told


def alignment(summaries_Nmr: Tensor) -> Tensor:
    """How far the spaces of pairs of summaries agree, ``[N, N]``: one where they are the same, zero by chance.

    The cosine of the second moments ``Z Z^T``, set against what independent directions would give on average, which
    is their effective number over m. Below zero: less alike than chance.
    """
    Z = summaries_Nmr.double()
    # <Z_i Z_i^T, Z_j Z_j^T> = ||Z_i^T Z_j||^2
    products = torch.einsum("imr,jms->ijrs", Z, Z).square().sum((-2, -1))
    length = products.diagonal().sqrt()
    mass = Z.square().sum((-2, -1))
    both = length[:, None] * length
    cosine = products / both.clamp(min=TINY)
    chance = (mass[:, None] * mass) / (both.clamp(min=TINY) * Z.shape[1])
    corrected = (cosine - chance) / (1 - chance).clamp(min=1e-6)
    # A side that spans its whole space evenly agrees with everything and tells nothing.
    return torch.where((both > TINY) & (chance < 1 - 1e-6), corrected, 0.0)


def update_alignment(outputs_Nmr: Tensor, inputs_Nmr: Tensor) -> Tensor:
    """Cosines of whole updates, ``[N, N]``, from summaries of their two halves; zero by chance."""
    O, I = outputs_Nmr.double(), inputs_Nmr.double()  # noqa: E741
    products = (torch.einsum("imr,jms->ijrs", O, O) * torch.einsum("imr,jms->ijrs", I, I)).sum((-2, -1))
    length = products.diagonal().clamp(min=0).sqrt()
    both = length[:, None] * length
    return torch.where(both > TINY, products / both.clamp(min=TINY), 0.0)


def update_chance(outputs_Nmr: Tensor, inputs_Nmr: Tensor) -> Tensor:
    """The variance, ``[N, N]``, that `update_alignment` would have if updates met by chance in the spaces they have.

    Clients with the same few directions on both sides agree or disagree a lot without meaning to: for independent maps
    between fixed spaces it is the product of the overlaps of both sides' second moments.
    """
    O, I = outputs_Nmr.double(), inputs_Nmr.double()  # noqa: E741
    overlap = torch.ones(len(O), len(O), dtype=torch.float64)
    for one, other in ((O, I), (I, O)):
        side = one @ root(other.mT @ other)
        side = side / torch.linalg.matrix_norm(side)[:, None, None].clamp(min=TINY)
        overlap = overlap * torch.einsum("imr,jms->ijrs", side, side).square().sum((-2, -1))
    return overlap


def disattenuated(between: Tensor, within: Tensor, prior: float = 0.01) -> Tensor:
    """Agreement of clients in units of a client's agreement with itself (Spearman 1904): one where nobody differs.

    Few examples make even two halves of one client's data disagree; that is noise and no reason to keep apart.

    Args:
        between: mean alignment of different clients, each trained on half its data.
        within: mean alignment of the two halves of a client.
        prior: evidence for being alike that is there from the start: where halves agree no better than by chance,
            nothing can be told, and the ratio goes to one.
    """
    return (between.clamp(min=0) + prior) / (within.clamp(min=0) + prior)
