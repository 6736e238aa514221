from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.learning.objectives.distill import distillation, orthogonality, pixel_distillation, text_distillation

seeds = st.integers(0, 10_000)
temperatures = st.floats(0.25, 20.0)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seeds, temperatures)
def test_it_is_the_textbooks_divergence(seed: int, temperature: float) -> None:
    student, teacher = normal(seed, 2, 3, 5), normal(seed + 1, 2, 3, 5)
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    expected = temperature**2 * (p * (p / q).log()).sum(-1)
    assert torch.allclose(distillation(student, teacher, temperature), expected, atol=1e-9)


@given(seeds, temperatures)
def test_it_is_never_negative_and_zero_where_both_agree(seed: int, temperature: float) -> None:
    student, teacher = 3 * normal(seed, 4, 6), 3 * normal(seed + 1, 4, 6)
    assert (distillation(student, teacher, temperature) >= -1e-12).all()
    shifted = teacher + 5.0  # logits are known up to a constant
    assert torch.allclose(distillation(shifted, teacher, temperature), torch.zeros(4, dtype=torch.float64), atol=1e-9)


@given(seeds)
def test_hot_gradients_are_those_of_squared_logits(seed: int) -> None:
    student, teacher = normal(seed, 1, 4).requires_grad_(), normal(seed + 1, 1, 4)
    (grad,) = torch.autograd.grad(distillation(student, teacher, 1000.0).sum(), student)
    apart = (student - student.mean()) - (teacher - teacher.mean())
    assert torch.allclose(grad, apart.detach() / 4, atol=1e-2)


def test_only_the_student_learns() -> None:
    student, teacher = normal(0, 2, 4).requires_grad_(), normal(1, 2, 4).requires_grad_()
    distillation(student, teacher).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_impossible_words_add_nothing() -> None:
    teacher = torch.tensor([[0.0, 1.0, -torch.inf]])
    found = distillation(torch.tensor([[0.0, 1.0, -torch.inf]]), teacher)
    assert torch.equal(found, torch.zeros(1))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_above_zero(temperature: float) -> None:
    with pytest.raises(SynopticError, match="softens nothing; use one above zero"):
        distillation(torch.zeros(1, 2), torch.zeros(1, 2), temperature)


@given(seeds, st.integers(0, 6))
def test_a_texts_distillation_is_a_mean_over_its_words_whatever_the_padding(seed: int, padding: int) -> None:
    student, teacher = normal(seed, 2, 3, 4, 5), normal(seed + 1, 2, 3, 4, 5)
    counted = torch.ones(2, 3, 4, dtype=torch.bool)
    counted[0, 1, 2:] = False
    found = text_distillation(student, teacher, counted, 2.0)
    assert torch.allclose(found[0, 1], distillation(student, teacher, 2.0)[0, 1, :2].mean())
    assert torch.allclose(found[1], distillation(student, teacher, 2.0)[1].mean(-1))
    wide = [torch.cat([logits, 9 * normal(seed + 2, 2, 3, padding, 5)], dim=2) for logits in (student, teacher)]
    more = torch.cat([counted, torch.zeros(2, 3, padding, dtype=torch.bool)], dim=2)
    assert torch.allclose(text_distillation(*wide, more, 2.0), found)


def test_a_text_without_words_has_nothing_to_learn() -> None:
    none = torch.zeros(1, 3, dtype=torch.bool)
    assert text_distillation(torch.randn(1, 3, 4), torch.randn(1, 3, 4), none).item() == 0.0


@given(seeds, st.integers(1, 3))
def test_a_pictures_distillation_does_not_grow_with_the_picture(seed: int, times: int) -> None:
    student, teacher = normal(seed, 2, 3, 3, 4, 4), normal(seed + 1, 2, 3, 3, 4, 4)
    found = pixel_distillation(student, teacher)
    assert found.shape == (2, 3)
    larger = [pixels.repeat(1, 1, 1, times, times) for pixels in (student, teacher)]
    assert torch.allclose(pixel_distillation(*larger), found)


# -- orthogonality -------------------------------------------------------------------------------------------------


def test_parallel_features_cost_one_and_orthogonal_ones_nothing() -> None:
    x, y = torch.eye(2)[:1].expand(1, 3, 2), torch.eye(2)[1:].expand(1, 2, 2)
    assert orthogonality([x, -2 * x]).item() == pytest.approx(1.0)
    assert orthogonality([x, y]).item() == pytest.approx(0.0)
    assert orthogonality([x, x, y]).item() == pytest.approx(1 / 3), "one pair of three is parallel"
    assert orthogonality([x]).item() == 0.0


@given(seeds, st.floats(0.1, 10.0))
def test_it_lies_between_zero_and_one_and_knows_no_scale_or_order(seed: int, scale: float) -> None:
    groups = [normal(seed + i, 2, 2 + i, 4) for i in range(3)]
    found = orthogonality(groups)
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.allclose(orthogonality([groups[2] * scale, groups[0], groups[1]]), found)


@given(seeds)
def test_padding_counts_nothing_and_clients_never_mix(seed: int) -> None:
    one, two = normal(seed, 2, 3, 4), normal(seed + 1, 2, 2, 4)
    weight = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    found = orthogonality([one, two], [weight, torch.ones(2, 2, dtype=torch.float64)])
    alone = orthogonality([one[:1, :2], two[:1]])
    assert torch.allclose(found[:1], alone)
    assert torch.allclose(found[1:], orthogonality([one[1:], two[1:]]))


def test_no_group_is_refused() -> None:
    with pytest.raises(SynopticError, match="no features to keep apart"):
        orthogonality([])
