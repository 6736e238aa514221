from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from helpers import SENTENCES, base, randomised
from synoptic.adapters.spec import AdapterSpec, LoraSpec, PromptSpec, TowerSpec
from synoptic.adapters.stack import expand, names, stack_of
from synoptic.core import SynopticError
from synoptic.models.dual_encoder import READY, DualEncoder

FAMILIES = ("clip", "siglip")
EVERY = ("q", "k", "v", "o", "fc1", "fc2")

SPECS: dict[str, dict[str, Any]] = {
    "vision lora": {"vision": "lora"},
    "lora everywhere": {"vision": {"lora": {"layers": "all", "targets": EVERY, "pooling": True}},
                        "text": {"lora": {"layers": "all", "targets": EVERY}}},
    "prompts": {"vision": {"prompt": 3}, "text": {"prompt": 2}},
    "heads": {"vision": "head", "text": "head"},
    "all at once": {"vision": {"lora": {}, "prompt": 2, "head": True}, "text": {"lora": {}, "prompt": 2, "head": True}},
}  # fmt: skip


def pixels(n: int) -> Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def run(model: DualEncoder, stack: TensorDict, images: Tensor, clients: int) -> tuple[Tensor, Tensor]:
    """Images and texts from the lowest depth that the stack allows."""
    image_depth, text_depth = model.entry(stack, "vision"), model.entry(stack, "text")
    tokens = model.tokenize(SENTENCES)
    with torch.no_grad(), model.wearing(stack):
        image = model.image_suffix(model.image_prefix(images, image_depth), image_depth)
        text = model.text_suffix(tokens, model.text_prefix(tokens, text_depth), text_depth, clients)
    return image, text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", SPECS)
def test_stacked_equals_sequential(family: str, what: str) -> None:
    model = base(family)
    one = model.new_adapter(AdapterSpec.model_validate(SPECS[what]), 0)
    stack = stack_of([randomised(one, seed, 0.1) for seed in range(3)])
    images = pixels(6)
    image, text = run(model, stack, images, 3)
    for k in range(3):
        alone_image, alone_text = run(model, stack[k : k + 1], images[2 * k : 2 * k + 2], 1)
        assert torch.allclose(image[2 * k : 2 * k + 2], alone_image, atol=1e-5)
        assert torch.allclose(text[k % text.shape[0]], alone_text[0], atol=1e-5)
    assert (image[0] - run(model, stack[1:2], images[:2], 1)[0][0]).abs().max() > 1e-4, "clients must differ"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", SPECS)
def test_starting_at_the_entry_is_starting_at_the_bottom(family: str, what: str) -> None:
    model = base(family)
    stack = expand(randomised(model.new_adapter(AdapterSpec.model_validate(SPECS[what]), 0), 0), 1)
    image, text = run(model, stack, pixels(2), 1)
    tokens = model.tokenize(SENTENCES)
    with torch.no_grad(), model.wearing(stack):
        assert torch.allclose(image, model.image_suffix(model.image_prefix(pixels(2), 0), 0), atol=1e-5)
        assert torch.allclose(text, model.text_suffix(tokens, model.text_prefix(tokens, 0), 0, 1), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", ["lora everywhere", "heads"])
def test_a_fresh_adapter_changes_nothing(family: str, what: str) -> None:
    model = base(family)
    stack = expand(model.new_adapter(AdapterSpec.model_validate(SPECS[what]), 0), 1)
    image, text = run(model, stack, pixels(2), 1)
    bare = expand(TensorDict({}, batch_size=[]), 1)
    expected_image, expected_text = run(model, bare, pixels(2), 1)
    assert torch.allclose(image, expected_image, atol=1e-6)
    assert torch.allclose(text, expected_text, atol=1e-6)


def test_prompts_start_small_and_heads_at_zero() -> None:
    one = base().new_adapter(AdapterSpec.model_validate(SPECS["all at once"]), 0)
    assert one["text/prompt/context"].shape == (2, 32)
    assert 0.005 < one["text/prompt/context"].std() < 0.05
    assert one["vision/head/weight"].shape == (24, 24)
    assert not one["vision/head/weight"].any()


def test_a_new_adapter_depends_on_the_seed_and_the_tower_only() -> None:
    spec = AdapterSpec.model_validate(SPECS["all at once"])
    first, again, other = (base().new_adapter(spec, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in names(first))
    assert not torch.equal(first["text/prompt/context"], other["text/prompt/context"])
    text_only = base().new_adapter(AdapterSpec(text=spec.text), 0)
    assert all(torch.equal(first[name], text_only[name]) for name in names(text_only))


@pytest.mark.parametrize(
    ("family", "tower", "settings", "depth"),
    [("clip", "vision", {}, READY), ("clip", "vision", {"head": True}, READY), ("clip", "vision", {"prompt": 1}, 0),
     ("clip", "vision", {"lora": {"layers": 1}}, 2), ("clip", "text", {"lora": {"layers": [1]}}, 1),
     ("clip", "text", {"lora": {"layers": "all"}, "head": True}, 0), ("clip", "vision", {"lora": {}, "prompt": 1}, 0),
     ("siglip", "vision", {"lora": {"layers": [2], "pooling": True}}, 2)],
)  # fmt: skip
def test_entry(family: str, tower: str, settings: dict[str, Any], depth: int | str) -> None:
    model = base(family)
    spec = AdapterSpec.model_validate({tower: settings, "text" if tower == "vision" else "vision": "head"})
    one = model.new_adapter(spec, 0)
    assert model.entry(one, tower) == depth
    assert model.entry(expand(one, 2), tower) == depth
    assert model.entry(one, "text" if tower == "vision" else "vision") == READY


def test_entry_with_the_pooling_head_alone() -> None:
    model = base("siglip")
    one = model.new_adapter(AdapterSpec(vision=TowerSpec(lora=LoraSpec(pooling=True))), 0).select(
        *[f"vision/lora/vision_model.head.attention#v/{part}" for part in ("A", "B", "scale")]
    )
    assert model.entry(one, "vision") == 3
    stack = expand(randomised(one, 0), 1)
    image, _ = run(model, stack, pixels(2), 1)
    with torch.no_grad(), model.wearing(stack):
        assert torch.allclose(image, model.image_suffix(model.image_prefix(pixels(2), 0), 0), atol=1e-6)


def test_prefixes_are_frozen_whatever_is_worn() -> None:
    model = base()
    stack = expand(randomised(model.new_adapter(AdapterSpec.model_validate(SPECS["lora everywhere"]), 0), 0), 1)
    bare = model.image_prefix(pixels(2), READY)
    with model.wearing(stack):
        assert torch.equal(model.image_prefix(pixels(2), READY), bare)


def test_wearing_inside_wearing_restores() -> None:
    model = base()
    heads = [expand(randomised(model.new_adapter(AdapterSpec(vision=TowerSpec(head=True)), 0), s), 1) for s in (0, 1)]
    z = torch.randn(2, 24)
    with torch.no_grad(), model.wearing(heads[0]):
        before = model.image_latent(z, READY)
        with model.wearing(heads[1]):
            assert not torch.equal(model.image_latent(z, READY), before)
        assert torch.equal(model.image_latent(z, READY), before)
        assert torch.allclose(before, z + z @ heads[0]["vision/head/weight"][0].mT, atol=1e-6)
    assert torch.equal(model.image_latent(z, READY), z)


def test_texts_are_shared_unless_the_text_tower_is_adapted() -> None:
    model = base()
    vision = expand(model.new_adapter(AdapterSpec(vision=TowerSpec(lora=LoraSpec())), 0), 4)
    assert run(model, vision, pixels(4), 4)[1].shape == (1, 3, 24)
    text = expand(model.new_adapter(AdapterSpec(text=TowerSpec(prompt=PromptSpec(length=2))), 0), 4)
    assert run(model, text, pixels(4), 4)[1].shape == (4, 3, 24)
    image = torch.randn(4, 5, 24)
    assert model.logits(image, torch.randn(1, 3, 24)).shape == (4, 5, 3)


def test_nothing_to_train() -> None:
    with pytest.raises(SynopticError, match=r"the adapter trains nothing: both towers are frozen; set adapter\.vision"):
        base().new_adapter(AdapterSpec(), 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_base_is_close_and_what_matters_stays_float32(family: str) -> None:
    full, half = base(family), base(family, "bfloat16")
    stack = expand(randomised(full.new_adapter(AdapterSpec.model_validate(SPECS["all at once"]), 0), 0, 0.05), 1)
    for exact, close in zip(run(full, stack, pixels(4), 1), run(half, stack, pixels(4), 1), strict=True):
        assert close.dtype == torch.float32
        assert 0 < (exact - close).abs().max() < 0.05
        assert torch.allclose(close.norm(dim=-1), torch.ones(()), atol=1e-5), "normalised in float32"
    dtypes = {name: parameter.dtype for name, parameter in half.model.named_parameters()}
    assert all(dtype == torch.float32 for name, dtype in dtypes.items() if "norm" in name or "logit" in name)
    assert all(dtype == torch.bfloat16 for name, dtype in dtypes.items() if "_proj.weight" in name or "mlp.fc" in name)
    assert half.fingerprint == full.fingerprint


def test_gradients_reach_the_adapter_and_nothing_else() -> None:
    model = base()
    stack = expand(randomised(model.new_adapter(AdapterSpec.model_validate(SPECS["all at once"]), 0), 0), 2)
    worn = {name: stack[name].clone().requires_grad_(not name.endswith("/scale")) for name in names(stack)}
    tokens = model.tokenize(SENTENCES)
    with model.wearing(worn):
        image = model.image_suffix(model.image_prefix(pixels(4), 0), 0).view(2, 2, -1)
        text = model.text_suffix(tokens, model.text_prefix(tokens, 0), 0, 2)
        model.logits(image, text).square().sum().backward()
    assert all(t.grad is not None and t.grad.any() for name, t in worn.items() if not name.endswith("/scale"))
    assert all(parameter.grad is None for parameter in model.model.parameters())
