from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from helpers import lora, randomised
from synoptic.adapters import algebra
from synoptic.adapters.stack import adapter, names, stack_of
from synoptic.core import SynopticError
from synoptic.core.seeds import generator

STEM = "vision/lora/w"
HEAD = "text/head/weight"
OUT, IN = 7, 5

counts = st.integers(1, 5)
seeds = st.integers(0, 10_000)
ranks = st.integers(1, 4)


def stack_for(clients: int, rank: int, seed: int, scales: bool = False) -> TensorDict:
    """Clients with one LoRA pair and one head; scales differ between clients when asked."""
    made = []
    for k in range(clients):
        tensors = lora("w", OUT, IN, rank, 0.25 * (k + 1) if scales else 0.5, seed=seed * 7 + k)
        tensors[HEAD] = torch.randn(3, 3, generator=generator(seed, "head", k))
        made.append(adapter(tensors))
    return stack_of(made)


def weights_for(clients: int, seed: int) -> Tensor:
    return torch.rand(clients, generator=generator(seed, "weights")) * 50 + 0.1


def dense_mean(stack: TensorDict, weights: Tensor) -> Tensor:
    """The slow readable twin: the mean of the O x D matrices."""
    share = weights.double() / weights.double().sum()
    return sum(w * algebra.dense(stack[k], STEM).double() for k, w in enumerate(share))


@given(counts, ranks, seeds)
def test_factor_mean_is_the_mean_of_every_tensor(clients: int, rank: int, seed: int) -> None:
    stack, weights = stack_for(clients, rank, seed), weights_for(clients, seed)
    result = algebra.mean(stack, weights)
    assert result.batch_size == torch.Size([])
    assert names(result) == names(stack)
    share = weights.double() / weights.double().sum()
    for name in (f"{STEM}/A", f"{STEM}/B", HEAD):
        expected = sum(w * stack[name][k].double() for k, w in enumerate(share))
        assert torch.allclose(result[name].double(), expected, atol=1e-6)
        assert result[name].dtype == torch.float32
    assert result[f"{STEM}/scale"] == 0.5


@given(counts, seeds)
def test_mean_of_equals_is_the_adapter_bit_for_bit(clients: int, seed: int) -> None:
    one = stack_for(1, 3, seed)[0]
    result = algebra.mean(stack_of([one] * clients), weights_for(clients, seed))
    assert all(torch.equal(result[name], one[name]) for name in names(one))


@given(counts, ranks, seeds)
def test_order_of_clients_does_not_matter(clients: int, rank: int, seed: int) -> None:
    stack, weights = stack_for(clients, rank, seed), weights_for(clients, seed)
    order = torch.randperm(clients, generator=generator(seed, "order"))
    shuffled = stack_of([stack[int(k)] for k in order])
    for rule in (algebra.mean, algebra.product_mean):
        first, second = rule(stack, weights), rule(shuffled, weights[order])
        assert torch.allclose(first[HEAD], second[HEAD], atol=1e-7)
        assert torch.allclose(algebra.dense(first, STEM), algebra.dense(second, STEM), atol=1e-5)
    assert torch.allclose(algebra.norms(stack)[order], algebra.norms(shuffled))


@given(st.integers(2, 5), seeds)
def test_a_client_of_weight_zero_changes_nothing(clients: int, seed: int) -> None:
    stack, weights = stack_for(clients, 2, seed), weights_for(clients, seed)
    weights[-1] = 0
    for rule in (algebra.mean, algebra.product_mean):
        with_it, without = rule(stack, weights), rule(stack[: clients - 1], weights[: clients - 1])
        assert torch.allclose(algebra.dense(with_it, STEM), algebra.dense(without, STEM), atol=1e-5)


@given(counts, ranks, seeds, st.booleans())
def test_product_mean_is_exact_when_the_rank_suffices(clients: int, rank: int, seed: int, scales: bool) -> None:
    stack, weights = stack_for(clients, rank, seed, scales), weights_for(clients, seed)
    result = algebra.product_mean(stack, weights, rank=min(OUT, IN))
    assert result[f"{STEM}/A"].shape == (IN, IN)
    assert torch.allclose(algebra.dense(result, STEM).double(), dense_mean(stack, weights), atol=1e-5)
    assert result[f"{STEM}/scale"] == stack[f"{STEM}/scale"][0]
    assert torch.equal(result[HEAD], algebra.mean(stack.select(HEAD), weights)[HEAD])


@given(counts, ranks, seeds, st.integers(1, 8))
def test_truncation_is_the_best_of_its_rank(clients: int, rank: int, seed: int, kept: int) -> None:
    """Eckart and Young (1936), against the SVD of the dense matrix."""
    stack, weights = stack_for(clients, rank, seed, scales=True), weights_for(clients, seed)
    A, B = algebra.stacked_factors(stack, STEM, weights)
    a, b, singular = algebra.truncate(A, B, kept)
    assert (a.shape, b.shape) == ((kept, IN), (OUT, kept))
    U, S, Vh = torch.linalg.svd(B @ A, full_matrices=False)
    best = (U[:, :kept] * S[:kept]) @ Vh[:kept]
    assert torch.allclose(((B @ A) - b @ a).norm(), ((B @ A) - best).norm(), atol=1e-9)
    count = min(len(singular), len(S))
    assert torch.allclose(singular[:count], S[:count], atol=1e-9)
    assert torch.allclose(a.norm(dim=1), b.norm(dim=0), atol=1e-9), "singular values are split evenly"


@pytest.mark.parametrize("seed", range(4))
def test_equal_products_give_equal_factors(seed: int) -> None:
    """The sign of a singular vector is fixed, so the result is a function of the products alone."""
    stack, weights = stack_for(3, 3, seed), weights_for(3, seed)
    first, second = algebra.product_mean(stack, weights), algebra.product_mean(rebased(stack, seed), weights)
    for part in "AB":
        assert torch.allclose(first[f"{STEM}/{part}"], second[f"{STEM}/{part}"], atol=1e-4)


@given(counts, ranks, seeds, st.booleans())
def test_stacking_is_exact(clients: int, rank: int, seed: int, scales: bool) -> None:
    stack, weights = stack_for(clients, rank, seed, scales), weights_for(clients, seed)
    result = algebra.stacking(stack, weights)
    assert result[f"{STEM}/A"].shape == (clients * rank, IN)
    assert result[f"{STEM}/scale"] == 1
    assert torch.allclose(algebra.dense(result, STEM).double(), dense_mean(stack, weights), atol=1e-5)


def rebased(stack: TensorDict, seed: int) -> TensorDict:
    """A -> R A, B -> B R^-1 with a well-conditioned R per client: other factors, the same updates."""
    clients, rank, _ = stack[f"{STEM}/A"].shape
    rng = generator(seed, "basis")
    Q = torch.linalg.qr(torch.randn(clients, rank, rank, generator=rng))[0]
    R = Q * (0.5 + torch.rand(clients, 1, rank, generator=rng))
    changed = {f"{STEM}/A": R @ stack[f"{STEM}/A"], f"{STEM}/B": stack[f"{STEM}/B"] @ torch.linalg.inv(R)}
    return TensorDict({name: changed.get(name, stack[name]) for name in names(stack)}, batch_size=stack.batch_size)


@given(counts, ranks, seeds)
def test_products_norms_and_angles_do_not_depend_on_the_basis(clients: int, rank: int, seed: int) -> None:
    stack, weights = stack_for(clients, rank, seed, scales=True), weights_for(clients, seed)
    other = rebased(stack, seed)
    first, second = algebra.product_mean(stack, weights), algebra.product_mean(other, weights)
    assert torch.allclose(algebra.dense(first, STEM), algebra.dense(second, STEM), atol=1e-4)
    assert torch.allclose(algebra.norms(stack), algebra.norms(other), rtol=1e-4)
    assert torch.allclose(algebra.cosine(stack), algebra.cosine(other), atol=1e-4)


def test_the_factor_mean_does_depend_on_the_basis() -> None:
    stack, weights = stack_for(3, 2, 0), torch.ones(3)
    first, second = algebra.mean(stack, weights), algebra.mean(rebased(stack, 0), weights)
    assert not torch.allclose(algebra.dense(first, STEM), algebra.dense(second, STEM), atol=1e-2)


@given(counts, ranks, seeds)
def test_gram_norms_and_cosine_equal_those_of_the_dense_updates(clients: int, rank: int, seed: int) -> None:
    stack = stack_for(clients, rank, seed, scales=True)
    updates = [(algebra.dense(stack[k], STEM), stack[HEAD][k]) for k in range(clients)]
    flat = torch.stack([torch.cat([part.flatten() for part in update]) for update in updates])
    expected = flat.double() @ flat.double().mT
    assert torch.allclose(algebra.gram(stack), expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(algebra.norms(stack), flat.double().norm(dim=1), rtol=1e-5)
    cosine = algebra.cosine(stack)
    assert torch.allclose(cosine.diagonal(), torch.ones(clients, dtype=torch.float64))
    length = flat.double().norm(dim=1)
    assert torch.allclose(cosine, expected / length[:, None] / length[None], atol=1e-4)


def test_cosine_with_an_update_of_zero_is_zero() -> None:
    stack = stack_for(2, 2, 0)
    stack[f"{STEM}/B"][1] = 0
    stack[HEAD][1] = 0
    assert torch.equal(algebra.cosine(stack)[1], torch.zeros(2, dtype=torch.float64))


def test_padding_does_not_change_a_product_mean() -> None:
    """Clients of rank 1, 2 and 4 with their own alpha / rank, as in FlexLoRA."""
    made = [adapter(lora("w", OUT, IN, rank, 1 / rank, seed=rank)) for rank in (1, 2, 4)]
    weights = torch.tensor([1.0, 2.0, 3.0])
    expected = sum(w / 6 * algebra.dense(one, STEM) for w, one in zip(weights, made, strict=True))
    result = algebra.product_mean(stack_of(made), weights, rank=IN)
    assert torch.allclose(algebra.dense(result, STEM), expected, atol=1e-5)


def test_mixed_scales_have_no_factor_mean() -> None:
    with pytest.raises(SynopticError, match=r"lora/w/scale differs between clients.*; aggregate with the product"):
        algebra.mean(stack_for(2, 2, 0, scales=True), torch.ones(2))


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
@pytest.mark.parametrize("rule", [algebra.mean, algebra.product_mean, algebra.stacking])
def test_weights_that_cannot_be_used(rule: object, weights: list[float]) -> None:
    with pytest.raises(SynopticError, match="cannot be averaged with; give finite weights"):
        rule(stack_for(2, 2, 0), torch.tensor(weights))  # type: ignore[operator]


def test_a_weight_for_every_client() -> None:
    for rule in (algebra.mean, algebra.product_mean, algebra.stacking):
        for count in (1, 2, 4):
            with pytest.raises(SynopticError, match=f"{count} weights were given for 3 clients; give one weight per"):
                rule(stack_for(3, 2, 0), torch.ones(count))


def test_dense_is_scale_times_the_product() -> None:
    one = randomised(stack_for(1, 2, 0)[0], 1)
    expected = 0.5 * one[f"{STEM}/B"] @ one[f"{STEM}/A"]
    assert torch.allclose(algebra.dense(one, STEM), expected)
