from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from answerers import FAMILIES, base, mixed_rows
from synoptic.models.answerer import scores as module
from synoptic.models.answerer.scores import Scores, token_scores

VOCABULARY, WIDTH = 13, 4


@given(tokens=st.integers(1, 30), logits=st.integers(1, 200), seed=st.integers(0, 99))
def test_chunks_give_the_values_and_gradients_of_the_whole(tokens: int, logits: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(VOCABULARY, WIDTH, generator=rng)
    targets = torch.randint(VOCABULARY, (tokens,), generator=rng)
    hidden = torch.randn(tokens, WIDTH, generator=rng)
    one, two = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    logp, best = token_scores(lambda h: h @ weight.T, one, targets, VOCABULARY, logits)
    expected = -F.cross_entropy(two @ weight.T, targets, reduction="none")
    assert torch.allclose(logp, expected, atol=1e-5)
    assert torch.equal(best, (two @ weight.T).argmax(1) == targets)
    weights = torch.randn(tokens, generator=rng)
    (logp * weights).sum().backward()
    (expected * weights).sum().backward()
    assert one.grad is not None and two.grad is not None
    assert torch.allclose(one.grad, two.grad, atol=1e-5)


def test_a_head_that_learns_is_refused_where_its_gradient_would_be_lost() -> None:
    weight, hidden = torch.randn(VOCABULARY, WIDTH, requires_grad=True), torch.randn(9, WIDTH, requires_grad=True)
    with pytest.raises(ValueError, match="the head has something to learn"):
        token_scores(lambda h: h @ weight.T, hidden, torch.zeros(9, dtype=torch.long), VOCABULARY, 2 * VOCABULARY)


def test_no_tensor_holds_the_logits_of_all_rows() -> None:
    sizes: list[int] = []

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(
            self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
        ) -> object:
            found = func(*args, **(kwargs or {}))  # type: ignore[operator]
            several = found if isinstance(found, tuple | list) else [found]
            sizes.extend(tensor.numel() for tensor in several if isinstance(tensor, Tensor))
            return found

    tokens, vocabulary, budget = 64, 500, 2000
    weight, hidden = torch.randn(vocabulary, WIDTH), torch.randn(tokens, WIDTH, requires_grad=True)
    with Seen():
        logp, _ = token_scores(
            lambda h: h @ weight.T, hidden, torch.zeros(tokens, dtype=torch.long), vocabulary, budget
        )
        logp.sum().backward()
    assert max(sizes) <= budget < tokens * vocabulary
    assert len(sizes) > 2 * tokens * vocabulary // budget, "forward and backward are seen"


@pytest.mark.parametrize("family", FAMILIES)
def test_only_tokens_of_answers_reach_the_head(family: str) -> None:
    model = base(family)
    views, rows = mixed_rows(model)
    read: list[int] = []
    hook = model.decoder.head.register_forward_pre_hook(lambda _, args: read.append(args[0].shape[0]))
    try:
        with torch.no_grad():
            model.scores(model.embed(rows, model.features(views)), rows, 0)
    finally:
        hook.remove()
    assert sum(read) == int((rows.length - rows.prompt).sum())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_block_is_computed_for_answers_only(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = base(family)
    views, rows = mixed_rows(model)
    assert model.decoder.short
    with torch.no_grad():
        hidden = model.embed(rows, model.features(views))
        short = model.scores(hidden, rows, 0).log_probability
        monkeypatch.setattr(model.decoder, "short", False)
        whole = model.scores(hidden, rows, 0).log_probability
    assert torch.allclose(short, whole, atol=1e-5)


def test_sums_means_and_exact_answers() -> None:
    counted = torch.tensor([[True, True, False], [True, True, True]])
    logp = torch.tensor([[-1.0, -2.0, 0.0], [-1.0, -1.0, -4.0]])
    found = Scores(logp, torch.tensor([[True, True, True], [True, False, True]]), counted)
    assert found.total.tolist() == [-3, -6]
    assert found.mean.tolist() == [-1.5, -2]
    assert found.right.tolist() == [True, False]
    assert module.LOGITS < 2**24, "a few megabytes"
