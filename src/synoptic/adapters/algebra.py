"""Algebra along the client axis: means, exact products, stacking, norms and angles.

A LoRA pair stands for its *product* ``scale * B A``; averaging A and B separately is not averaging products
(mean(B_k A_k) != mean(B_k) mean(A_k)). Both are here, by name, and neither ever forms the dense O x D matrix.

Legend: K clients, D inputs, O outputs, r rank, R = K r.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.slots import in_slot, site_of, together
from synoptic.adapters.stack import adapter, names
from synoptic.core import SynopticError

Pair = tuple[Tensor, Tensor, Tensor]
"""A ``[r, D]``, B ``[O, r]`` and the scale of one LoRA pair."""


def normalised(weights: Tensor, clients: int) -> Tensor:
    """Weights ``[K]`` of ``clients`` = K clients as float64 shares that sum to one.

    Raises:
        SynopticError: a negative or non-finite weight, none above zero, or not one for each client.
    """
    if weights.shape != (clients,):
        raise SynopticError(f"{weights.numel()} weights were given for {clients} clients", "give one weight per client")
    w = weights.double()
    if not torch.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise SynopticError(f"client weights {weights.tolist()} cannot be averaged with",
                            "give finite weights of at least zero, one of them above")  # fmt: skip
    return w / w.sum()


def mean(stack: TensorDict, weights: Tensor) -> TensorDict:
    """Factor mean: the weighted mean of every tensor on its own (FedAvg, McMahan et al. 2017, Algorithm 1).

    Args:
        stack: ``[K]`` adapters.
        weights: ``[K]``, examples as a rule; they need not sum to one.

    Returns:
        One adapter. Sums run in float64 in client order, so the result does not depend on grouping.

    Raises:
        SynopticError: clients whose LoRA scales differ; their factors mean different updates (use `product_mean`).
    """
    share = normalised(weights, stack.batch_size[0])
    return adapter({name: _mean_tensor(name, stack[name], share) for name in names(stack)})


def _mean_tensor(name: str, tensor: Tensor, share: Tensor) -> Tensor:
    if name.endswith("/scale"):
        if (tensor != tensor[0]).any():
            raise SynopticError(f"{name} differs between clients, so their factors cannot be averaged one by one",
                                "aggregate with the product mean, or use one alpha / rank")  # fmt: skip
        return tensor[0].clone()
    total: Tensor = torch.tensordot(share, tensor.double(), dims=1)
    return total.to(tensor.dtype)


def lora_stems(stack: TensorDict) -> list[str]:
    """Names of LoRA pairs without their last part."""
    return [name[:-2] for name in names(stack) if "/lora/" in name and name.endswith("/A")]


def stacked_factors(stack: TensorDict, stem: str, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Factors whose plain product *is* the weighted mean of the clients' products (FLoRA, Wang et al. 2024).

    Returns:
        ``A [R, D]`` and ``B [O, R]`` in float64 with ``B A = sum_k w_k scale_k B_k A_k``; the scale is inside.
    """
    share = normalised(weights, stack.batch_size[0])
    A_KrD, B_KOr = stack[f"{stem}/A"].double(), stack[f"{stem}/B"].double()
    root = (share * stack[f"{stem}/scale"].double()).sqrt()
    A_RD = (A_KrD * root[:, None, None]).flatten(0, 1)
    B_OR = (B_KOr * root[:, None, None]).permute(1, 0, 2).flatten(1)
    return A_RD, B_OR


def truncate(A_RD: Tensor, B_OR: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best rank-``rank`` approximation of ``B A`` (Eckart-Young), from an R x R core and never the dense matrix.

    QR of both factors, SVD of the small core R_B R_A^T; singular values are split evenly between the factors.

    Returns:
        ``A [rank, D]``, ``B [O, rank]`` and all singular values. When R < rank the factors are padded with zeros.
    """
    Q_B, R_B = torch.linalg.qr(B_OR)
    Q_A, R_A = torch.linalg.qr(A_RD.mT)
    U, S, Vh = torch.linalg.svd(R_B @ R_A.mT, full_matrices=False)
    left, right = Q_B @ U, Vh @ Q_A.mT
    # A fixed sign, so that equal products give equal factors whatever LAPACK chose in the QR and the SVD.
    sign = torch.sign(left.gather(0, left.abs().argmax(0, keepdim=True)))
    sign[sign == 0] = 1
    left, right = left * sign, right * sign.mT
    kept = min(rank, S.numel())
    root = S[:kept].sqrt()
    A, B = A_RD.new_zeros(rank, A_RD.shape[1]), B_OR.new_zeros(B_OR.shape[0], rank)
    A[:kept] = root[:, None] * right[:kept]
    B[:, :kept] = left[:, :kept] * root
    return A, B, S


def product_mean(stack: TensorDict, weights: Tensor, rank: int | None = None) -> TensorDict:
    """Product mean: the weighted mean of the clients' *updates*, re-truncated by SVD (FlexLoRA, Bai et al. 2024).

    Exact whenever ``rank`` is at least the rank of the mean. Clients may differ in scale and (padded) rank. Tensors
    that are not LoRA pairs are averaged as by `mean`.

    Args:
        stack: ``[K]`` adapters.
        weights: ``[K]``.
        rank: rank of the result; the stack's own when left out.

    Returns:
        One adapter with the first client's scale.
    """

    def merge(stem: str) -> Pair:
        A_KrD, scale = stack[f"{stem}/A"], stack[f"{stem}/scale"][0]
        A, B, _ = truncate(*stacked_factors(stack, stem, weights), rank or A_KrD.shape[1])
        unscale = scale.double().sqrt()
        return A / unscale, B / unscale, scale.clone()

    return _pair_by_pair(stack, weights, merge)


def stacking(stack: TensorDict, weights: Tensor) -> TensorDict:
    """Exact mean of products by concatenation: rank K r, scale one (FLoRA, Wang et al. 2024)."""

    def merge(stem: str) -> Pair:
        return *stacked_factors(stack, stem, weights), torch.ones_like(stack[f"{stem}/scale"][0])

    return _pair_by_pair(stack, weights, merge)


def residual(stack: TensorDict, one: TensorDict, weights: Tensor) -> TensorDict:
    """What the mean of the clients' products is beyond the product of ``one`` (FedEx-LoRA, Singhal et al. 2025).

    Returns:
        LoRA pairs of rank (K + 1) r and scale one: ``sum_k w_k scale_k B_k A_k - scale B A``.
    """
    result: dict[str, Tensor] = {}
    for stem in lora_stems(stack):
        A_RD, B_OR = stacked_factors(stack, stem, weights)
        A_rD, B_Or = one[f"{stem}/A"].double(), one[f"{stem}/B"].double() * -one[f"{stem}/scale"].double()
        result |= _pair(stem, torch.cat([A_RD, A_rD]), torch.cat([B_OR, B_Or], dim=1), one[f"{stem}/A"].dtype)
    return adapter(result)


def added(one: TensorDict, two: TensorDict) -> TensorDict:
    """LoRA pairs whose update is the sum of both, exactly, at the smallest rank that a site can need: min(O, D)."""
    result: dict[str, Tensor] = {}
    both = joined(together(one, in_slot(two, "two")))
    for stem in lora_stems(both):
        A, B = both[f"{stem}/A"].double(), both[f"{stem}/B"].double() * both[f"{stem}/scale"].double()
        most = min(A.shape[1], B.shape[0])
        if A.shape[0] > most:
            A, B, _ = truncate(A, B, most)
        result |= _pair(stem, A, B, both[f"{stem}/A"].dtype)
    return adapter(result)


def without_padding(one: TensorDict) -> TensorDict:
    """LoRA pairs without the dimensions in which both factors are zero; other tensors are left out."""
    result: dict[str, Tensor] = {}
    for stem in lora_stems(one):
        A, B = one[f"{stem}/A"], one[f"{stem}/B"]
        used = A.any(1) | B.any(0)
        result |= {f"{stem}/A": A[used], f"{stem}/B": B[:, used], f"{stem}/scale": one[f"{stem}/scale"]}
    return adapter(result)


def _pair(stem: str, A: Tensor, B: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    return {f"{stem}/A": A.to(dtype), f"{stem}/B": B.to(dtype), f"{stem}/scale": torch.ones((), dtype=dtype)}


def _pair_by_pair(stack: TensorDict, weights: Tensor, merge: Callable[[str], Pair]) -> TensorDict:
    """One adapter: LoRA pairs as ``merge`` says, every other tensor by its mean."""
    share = normalised(weights, stack.batch_size[0])
    result = {name: _mean_tensor(name, stack[name], share) for name in _no_pair(stack)}
    for stem in lora_stems(stack):
        A, B, scale = merge(stem)
        dtype = stack[f"{stem}/A"].dtype
        result |= {f"{stem}/A": A.to(dtype), f"{stem}/B": B.to(dtype), f"{stem}/scale": scale}
    return adapter(result)


def _no_pair(stack: TensorDict) -> list[str]:
    """Names of all tensors that are no part of a LoRA pair."""
    parts = {f"{stem}/{part}" for stem in lora_stems(stack) for part in ("A", "B", "scale")}
    return [name for name in names(stack) if name not in parts]


def joined(stack: TensorDict) -> TensorDict:
    """The same updates with one pair on each site: slots side by side along the rank, exactly. No batch axis, or K.

    Sites with one pair keep it as it is; joined ones have scale one.
    """
    sites: dict[str, list[str]] = {}
    for stem in lora_stems(stack):
        sites.setdefault(site_of(stem), []).append(stem)
    result = {name: stack[name] for name in _no_pair(stack)}
    for site, stems in sites.items():
        A, B, scale = ([stack[f"{stem}/{part}"] for stem in stems] for part in ("A", "B", "scale"))
        if len(stems) > 1:
            B = [factor * size[..., None, None] for factor, size in zip(B, scale, strict=True)]
            scale = [torch.ones_like(scale[0])]
        result |= {f"{site}/A": torch.cat(A, dim=-2), f"{site}/B": torch.cat(B, dim=-1), f"{site}/scale": scale[0]}
    return TensorDict(result, batch_size=stack.batch_size)


def difference(stack: TensorDict, one: TensorDict) -> TensorDict:
    """What each client's adapter ``[K]`` adds to ``one``: LoRA by its product, exactly, at twice the rank."""
    stems = lora_stems(stack)
    result = {name: stack[name] - one[name] for name in _no_pair(stack)}
    for stem in stems:
        A, B = ([stack[f"{stem}/{part}"], one[f"{stem}/{part}"].expand_as(stack[f"{stem}/{part}"])] for part in "AB")
        scale = stack[f"{stem}/scale"][:, None, None]
        result[f"{stem}/A"] = torch.cat(A, dim=1)
        result[f"{stem}/B"] = torch.cat([scale * B[0], -one[f"{stem}/scale"] * B[1]], dim=2)
        result[f"{stem}/scale"] = torch.ones_like(stack[f"{stem}/scale"])
    return TensorDict(result, batch_size=stack.batch_size)


def agreement(stack: TensorDict) -> float:
    """Mean cosine of all pairs of clients' updates: one where all pull alike, below zero where they oppose each other.

    NaN with a single client.
    """
    return float(cosine(stack)[~torch.eye(len(stack), dtype=torch.bool)].mean())


def dense(one: TensorDict, stem: str) -> Tensor:
    """``scale * B A`` as an O x D matrix: for tests and export, not for training."""
    product: Tensor = one[f"{stem}/scale"] * (one[f"{stem}/B"] @ one[f"{stem}/A"])
    return product


def inner(stack: TensorDict, stem: str) -> Tensor:
    """Frobenius inner products ``<scale_i B_i A_i, scale_j B_j A_j>`` of all pairs of clients, ``[K, K]``, float64."""
    A, B = stack[f"{stem}/A"].double(), stack[f"{stem}/B"].double()
    B = B * stack[f"{stem}/scale"].double()[:, None, None]
    AA = torch.einsum("ird,jsd->ijrs", A, A)
    BB = torch.einsum("ior,jos->ijrs", B, B)
    return (AA * BB).sum((-2, -1))


def gram(stack: TensorDict) -> Tensor:
    """Inner products of the clients' whole updates, ``[K, K]``: LoRA by product, other tensors as they are."""
    stack = joined(stack)
    stems = lora_stems(stack)
    clients = stack.batch_size[0]
    total = torch.zeros(clients, clients, dtype=torch.float64)
    for stem in stems:
        total += inner(stack, stem)
    for name in names(stack):
        if "/lora/" not in name:
            flat = stack[name].double().reshape(clients, -1)
            total += flat @ flat.mT
    return total


def norms(stack: TensorDict) -> Tensor:
    """Frobenius norm of each client's whole update, ``[K]``."""
    return gram(stack).diagonal().clamp(min=0).sqrt()


def cosine(stack: TensorDict) -> Tensor:
    """Cosine similarity of the clients' whole updates, ``[K, K]``; zero where an update is zero."""
    products = gram(stack)
    length = products.diagonal().clamp(min=0).sqrt()
    scale = length[:, None] * length[None, :]
    return torch.where(scale > 0, products / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
