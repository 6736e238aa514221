from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from helpers import base, clients, lora, randomised
from synoptic.adapters.spec import AdapterSpec, LoraSpec, PromptSpec, TowerSpec
from synoptic.adapters.stack import adapter, expand, names, pack, select, size_bytes, stack_of, trainable_names, without
from synoptic.core import SynopticError


def whole(rank: int = 2) -> TensorDict:
    spec = AdapterSpec(
        vision=TowerSpec(lora=LoraSpec(rank=rank, alpha=3), head=True), text=TowerSpec(prompt=PromptSpec(length=2))
    )
    return base().new_adapter(spec, 0)


def test_names_say_tower_kind_place_and_part() -> None:
    one = whole()
    assert names(one) == sorted(names(one))
    assert {name.split("/")[0] for name in names(one)} == {"vision", "text"}
    assert "vision/lora/vision_model.encoder.layers.2.self_attn.q_proj/A" in names(one)
    assert "text/prompt/context" in names(one)
    assert "vision/head/weight" in names(one)
    assert len(names(one)) == 3 * 6 + 2


def test_scales_are_never_trained() -> None:
    one = whole()
    movable = trainable_names(one)
    assert set(names(one)) - set(movable) == {name for name in names(one) if name.endswith("/scale")}
    assert trainable_names(one, "*/B") == [name for name in movable if name.endswith("/B")]
    assert trainable_names(one, ["text/*", "vision/head/*"]) == ["text/prompt/context", "vision/head/weight"]
    with pytest.raises(SynopticError, match=r"'text/lora/\*' matches no tensor of the adapter; it has: text/prompt"):
        trainable_names(one, "text/lora/*")


def test_select_keeps_what_matches_without_a_copy() -> None:
    one = whole()
    some = select(one, "*/head/*", "text/*")
    assert names(some) == ["text/prompt/context", "vision/head/weight"]
    assert some["vision/head/weight"].data_ptr() == one["vision/head/weight"].data_ptr()


def test_without_leaves_out_what_is_named() -> None:
    one = adapter({name: torch.ones(2) for name in ("a/x/1", "a/x/2", "b/y/1")})
    assert names(without(one, ["a/x/2", "nobody"])) == ["a/x/1", "b/y/1"]
    assert names(without(one, names(one))) == []


def test_expand_is_a_view() -> None:
    one = whole()
    stack = expand(one, 5)
    assert stack.batch_size == torch.Size([5])
    for name in names(one):
        assert stack[name].shape == (5, *one[name].shape)
        assert stack[name].data_ptr() == one[name].data_ptr()
        assert torch.equal(stack[3][name], one[name])


def test_stack_of_gives_back_each_client() -> None:
    made = [randomised(whole(), seed) for seed in range(3)]
    stack = stack_of(made)
    assert stack.batch_size == torch.Size([3])
    for k, one in enumerate(made):
        assert all(torch.equal(stack[k][name], one[name]) for name in names(one))
    stack[1]["text/prompt/context"].zero_()
    assert not stack["text/prompt/context"][1].any(), "stack[k] is a view"


def test_stack_of_nothing_and_of_different_adapters() -> None:
    with pytest.raises(SynopticError, match="a stack of no adapters was asked for; give at least one"):
        stack_of([])
    with pytest.raises(SynopticError, match="adapters with different tensors cannot form a stack"):
        stack_of([whole(), select(whole(), "vision/*")])


def sgd(stack: TensorDict, x_KBD: Tensor, steps: int = 3) -> TensorDict:
    """Weighted-decay-free momentum-free descent on ``|x + scale B A x - 1|^2`` per client, by autograd."""
    stem = "vision/lora/w"
    A, B = (stack[f"{stem}/{part}"].clone().requires_grad_() for part in "AB")
    for _ in range(steps):
        y = x_KBD + stack[f"{stem}/scale"][:, None, None] * (x_KBD @ A.mT @ B.mT)
        grads = torch.autograd.grad((y - 1).square().mean((1, 2)).sum(), (A, B))
        A, B = ((t - 0.05 * g).detach().requires_grad_() for t, g in zip((A, B), grads, strict=True))
    return TensorDict({f"{stem}/A": A.detach(), f"{stem}/B": B.detach()}, batch_size=stack.batch_size)


def test_a_padded_client_trains_as_it_would_alone() -> None:
    made = [adapter(lora("w", 8, 8, rank, scale, seed=rank)) for rank, scale in ((2, 0.5), (5, 0.2), (1, 1.0))]
    stack = stack_of(made)
    assert stack["vision/lora/w/A"].shape == (3, 5, 8)
    assert stack["vision/lora/w/B"].shape == (3, 8, 5)
    x = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    together = sgd(stack, x)
    for k, one in enumerate(made):
        rank = one["vision/lora/w/A"].shape[0]
        alone = sgd(expand(one, 1), x[k : k + 1])[0]
        A, B = together["vision/lora/w/A"][k], together["vision/lora/w/B"][k]
        assert torch.allclose(A[:rank], alone["vision/lora/w/A"], atol=1e-6)
        assert torch.allclose(B[:, :rank], alone["vision/lora/w/B"], atol=1e-6)
        assert not A[rank:].any()
        assert not B[:, rank:].any(), "padding received a gradient"


def test_size_in_bytes() -> None:
    assert size_bytes(adapter(lora("w", 8, 6, rank=2))) == 4 * (2 * 6 + 8 * 2 + 1)


def test_pack_and_unpack() -> None:
    stack = clients(3, ("w", 8, 6), ("u", 4, 6))
    chosen = trainable_names(stack)
    flat, layout = pack(stack, chosen)
    assert flat.shape == (3, sum(layout.sizes))
    views = layout.unpack(flat)
    assert list(views) == chosen
    for name in chosen:
        assert torch.equal(views[name], stack[name])
    flat.zero_()
    assert not any(view.any() for view in views.values()), "views into the buffer"
    assert stack["vision/lora/w/A"].any(), "the buffer is a copy"
