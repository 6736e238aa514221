from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from helpers import FusedBlock, Net, PackedBlock, base, clients, lora, net, randomised, reference
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.binding import Binding
from synoptic.adapters.sites import PARTS, split_name
from synoptic.adapters.spec import AdapterSpec, LoraSpec, TowerSpec
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError

KINDS = {
    "linear": (lambda: net(FusedBlock()), [("blocks.0.proj", 8, 8)]),
    "fused": (lambda: net(FusedBlock()), [(f"blocks.0.qkv#{part}", 8, 8) for part in "qkv"]),
    "fused, one part": (lambda: net(FusedBlock()), [("blocks.0.qkv#v", 8, 8)]),
    "packed": (lambda: net(PackedBlock()), [("blocks.0.attn#q", 8, 8), ("blocks.0.attn.out_proj", 8, 8)]),
    "packed, output only": (lambda: net(PackedBlock()), [("blocks.0.attn.out_proj", 8, 8)]),
    "packed, tokens first": (lambda: net(PackedBlock(batch_first=False)),
                             [(f"blocks.0.attn#{part}", 8, 8) for part in "kv"]),
    "two blocks": (lambda: net(FusedBlock(), PackedBlock()),
                   [("blocks.0.qkv#k", 8, 8), ("blocks.1.attn#k", 8, 8), ("blocks.1.fc1", 8, 8)]),
}  # fmt: skip


def merged(model: nn.Module, one: TensorDict) -> Any:
    """The slow readable twin: a copy whose weights hold ``W + scale B A``."""
    whole = copy.deepcopy(model)
    for stem in lora_stems(one):
        path, part = split_name(stem.split("/lora/")[1])
        module = whole.get_submodule(path)
        weight = module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else module.weight
        update = dense(one, stem)
        first = 0 if part is None else PARTS[part] * update.shape[0]
        weight.data[first : first + update.shape[0]] += update
    return whole


def rows(n: int = 4, seed: int = 0, tokens: int = 5) -> Tensor:
    return torch.randn(n, tokens, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_worn_equals_merged(kind: str) -> None:
    make, sites = KINDS[kind]
    model, stack = make(), clients(1, *sites, rank=3, scale=0.3)
    x = rows(5)
    expected, bare = merged(model, stack[0])(x), model(x)
    with Binding(model).wearing(leaves(stack)):
        worn = model(x)
    assert torch.allclose(worn, expected, atol=1e-4, rtol=1e-5)
    assert (worn - bare).abs().max() > 0.1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "tokens first" not in kind])
def test_stacked_rows_equal_one_client_at_a_time(kind: str) -> None:
    make, sites = KINDS[kind]
    model, stack = make(), clients(3, *sites, scale=0.3)
    binding, x = Binding(model), rows(6)
    with binding.wearing(leaves(stack)):
        together = model(x)
    for k in range(3):
        with binding.wearing(leaves(stack[k : k + 1])):
            alone = model(x[2 * k : 2 * k + 2])
        assert torch.allclose(together[2 * k : 2 * k + 2], alone, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_worn_is_the_same_bits(kind: str) -> None:
    make, sites = KINDS[kind]
    model = make()
    untouched, weights = model(rows()), copy.deepcopy(model.state_dict())
    binding = Binding(model)
    with binding.wearing(leaves(clients(1, *sites))):
        model(rows())
    assert torch.equal(model(rows()), untouched)
    with binding.wearing({}):
        assert torch.equal(model(rows()), untouched)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_wearing_inside_wearing_replaces_and_restores() -> None:
    model = net(FusedBlock())
    binding, first, second = Binding(model), clients(1, ("blocks.0.proj", 8, 8)), clients(1, ("blocks.0.qkv#q", 8, 8))
    expected = {name: merged(model, one[0])(rows()) for name, one in (("first", first), ("second", second))}
    with binding.wearing(leaves(first)):
        with binding.wearing(leaves(second)):
            assert torch.allclose(model(rows()), expected["second"], atol=1e-4)
        assert torch.allclose(model(rows()), expected["first"], atol=1e-4)
        with pytest.raises(KeyError), binding.wearing(leaves(second)):
            raise KeyError
        assert torch.allclose(model(rows()), expected["first"], atol=1e-4), "an error inside restores too"


def test_hooks_are_installed_once() -> None:
    model = net(FusedBlock(), PackedBlock())
    binding = Binding(model)
    sites = ("blocks.0.proj", 8, 8), ("blocks.1.attn.out_proj", 8, 8), ("blocks.1.attn#q", 8, 8)
    worn, expected = [], merged(model, clients(1, *sites)[0])(rows())
    # The packed attention is met by its projection first, by its input after.
    for count in (2, 3, 3):
        with binding.wearing(leaves(clients(1, *sites[:count]))):
            worn.append(model(rows()))
    assert torch.equal(worn[1], worn[2])
    assert torch.allclose(worn[1], expected, atol=1e-3)
    assert len(model.blocks[0].proj._forward_hooks) == 1


def trainable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.clone().requires_grad_(not name.endswith("scale")) for name, t in tensors.items()}


def dense_forward(model: Net, one: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Weights as functions of the factors, so that autograd differentiates the dense update."""
    weights = dict(model.named_parameters())
    for stem in {name.rpartition("/")[0] for name in one}:
        path, part = split_name(stem.split("/lora/")[1])
        packed = isinstance(model.get_submodule(path), nn.MultiheadAttention)
        name = f"{path}.in_proj_weight" if packed else f"{path}.weight"
        update = one[f"{stem}/scale"] * one[f"{stem}/B"] @ one[f"{stem}/A"]
        first = 0 if part is None else PARTS[part] * 8
        weights[name] = weights[name] + nn.functional.pad(update, (0, 0, first, weights[name].shape[0] - first - 8))
    result: Tensor = torch.func.functional_call(model, weights, (x,))
    return result


@pytest.mark.parametrize("kind", ["linear", "fused", "packed", "two blocks"])
def test_gradients_equal_those_of_the_dense_update(kind: str) -> None:
    make, sites = KINDS[kind]
    model, stack = make(), clients(2, *sites, scale=0.3)
    alone = [trainable(leaves(stack[k])) for k in range(2)]
    for k in range(2):
        # The loss of the stack is the mean over both clients' rows: half of each client's own mean.
        (dense_forward(model, alone[k], rows()[2 * k : 2 * k + 2]).square().mean() / 2).backward()
    tensors = trainable(leaves(stack))
    with Binding(model).wearing(tensors):
        model(rows()).square().mean().backward()
    for name in (name for name in tensors if not name.endswith("scale")):
        for k in range(2):
            expected = alone[k][name].grad
            assert torch.allclose(tensors[name].grad[k], expected, atol=1e-4 * float(expected.abs().max())), name


def test_bfloat16_base_keeps_the_low_rank_part_in_float32() -> None:
    model = net(FusedBlock())
    half = copy.deepcopy(model).to(torch.bfloat16)
    stack = leaves(clients(1, ("blocks.0.proj", 8, 8)))
    with Binding(half).wearing(stack):
        out = half(rows().bfloat16())
    assert out.dtype == torch.float32


def test_rows_that_cannot_be_shared() -> None:
    model = net(FusedBlock())
    message = "4 rows cannot be shared by a stack of 3 clients"
    stack = leaves(clients(3, ("blocks.0.proj", 8, 8)))
    with Binding(model).wearing(stack), pytest.raises(SynopticError, match=message):
        model(rows(4))


def test_weights_for_a_module_that_is_not_there() -> None:
    wearing = Binding(net(FusedBlock())).wearing(leaves(clients(1, ("blocks.7.proj", 8, 8))))
    with pytest.raises(SynopticError, match=r"weights for 'blocks\.7\.proj', which this model lacks"), wearing:
        pass


def test_a_mask_on_adapted_packed_attention_is_refused_not_ignored() -> None:
    model = net(PackedBlock())
    attention, x = model.blocks[0].attn, rows()
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    binding = Binding(model)
    with binding.wearing(leaves(clients(1, ("blocks.0.attn#q", 8, 8)))):
        with pytest.raises(SynopticError, match=r"'blocks\.0\.attn' is adapted and was called with \['attn_mask'\]"):
            attention(x, x, x, attn_mask=mask)
        attention(x, x, x, need_weights=False)
    attention(x, x, x, attn_mask=mask)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_whole_towers_worn_equal_merged(family: str) -> None:
    model = base(family)
    every = LoraSpec(rank=2, alpha=3, layers="all", targets=("q", "k", "v", "o", "fc1", "fc2"), pooling=True)
    spec = TowerSpec(lora=every)
    one = randomised(model.new_adapter(AdapterSpec(vision=spec, text=spec.model_copy()), 0), 1)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = merged(reference(family), one)
    with torch.no_grad(), model.wearing(expand(one, 1)):
        image = model.image_latent(model.image_prefix(pixels, 0), 0)
        expected = whole.get_image_features(pixel_values=pixels).pooler_output
    assert torch.allclose(image, expected, atol=2e-5)


def test_names_of_two_towers_do_not_meet() -> None:
    model = net(FusedBlock())
    tensors = lora("blocks.0.proj", 8, 8, tower="vision")
    with Binding(model).wearing({name: tensor.unsqueeze(0) for name, tensor in tensors.items()}):
        assert not torch.equal(model(rows()), net(FusedBlock())(rows()))
