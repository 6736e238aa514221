from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from helpers import FOLDERS, SENTENCES, FusedBlock, PackedBlock, base, lora, net, randomised
from synoptic.adapters.binding import Binding
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import adapter, expand
from synoptic.core import SynopticError
from synoptic.models.load import load_dual_encoder
from synoptic.models.merge import check_mergeable, merge, save_merged

EVERY = ["q", "k", "v", "o", "fc1", "fc2"]
CASES: dict[str, dict[str, Any]] = {
    "vision": {"vision": {"lora": {"rank": 3, "alpha": 5}}},
    "both": {"vision": {"lora": {"targets": EVERY, "layers": "all"}}, "text": {"lora": {"rank": 2, "alpha": 7}}},
    "text-head": {"vision": "lora", "text": "head"},
    "vision-head": {"vision": {"head": True, "lora": {}}},
    "pooling": {"vision": {"lora": {"pooling": True, "targets": EVERY}}},
    "prompt": {"vision": "lora", "text": "prompt"},
}


def pixels() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def worn(family: str, one: TensorDict) -> Tensor:
    model = base(family)
    tokens = model.tokenize(SENTENCES)
    with torch.no_grad(), model.wearing(expand(one, 1)):
        images = model.image_suffix(model.image_prefix(pixels(), 0), 0)
        texts = model.text_suffix(tokens, model.text_prefix(tokens, 0), 0, 1)
        return model.logits(images[None], texts)[0]


def drawn(family: str, which: str) -> TensorDict:
    return randomised(base(family).new_adapter(AdapterSpec.model_validate(CASES[which]), 0), 1)


@pytest.mark.parametrize(
    ("family", "which"),
    [(family, which) for family in FOLDERS for which in ("vision", "both", "text-head")]
    + [("clip", "vision-head"), ("siglip", "pooling")],
)
def test_plain_transformers_computes_what_the_worn_adapter_does(family: str, which: str, tmp_path: Path) -> None:
    import transformers

    one = drawn(family, which)
    model = load_dual_encoder(str(FOLDERS[family]()))
    merge(model, one)
    save_merged(model, tmp_path)
    plain = getattr(transformers, type(model.model).__name__).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = plain(input_ids=base(family).tokenize(SENTENCES).ids_NT, pixel_values=pixels()).logits_per_image
    frozen = worn(family, adapter({name: torch.zeros_like(tensor) for name, tensor in one.items()}))
    assert torch.allclose(logits, worn(family, one), atol=2e-5)
    assert (logits - frozen).abs().max() > 0.05, "the adapter must change something"


def test_a_merged_folder_is_a_base_like_any_other(tmp_path: Path) -> None:
    model = load_dual_encoder(str(FOLDERS["clip"]()))
    merge(model, drawn("clip", "both"))
    save_merged(model, tmp_path)
    again = load_dual_encoder(str(tmp_path))
    assert again.fingerprint != base().fingerprint
    assert torch.equal(again.tokenize(SENTENCES).ids_NT, base().tokenize(SENTENCES).ids_NT)
    assert again.preprocess.fingerprint == base().preprocess.fingerprint


@pytest.mark.parametrize(
    ("family", "which", "words"),
    [("clip", "prompt", "text/prompt/context, which are inputs"), ("siglip", "vision-head", "vision/head/weight, and")],
)  # fmt: skip
def test_what_no_weight_can_hold_is_refused_and_nothing_is_changed(family: str, which: str, words: str) -> None:
    model = load_dual_encoder(str(FOLDERS[family]()))
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    with pytest.raises(SynopticError, match=words) as caught:
        merge(model, drawn(family, which))
    assert "without --merged" in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())


def test_prompts_are_told_without_the_base() -> None:
    with pytest.raises(SynopticError, match="cannot be merged"):
        check_mergeable(drawn("clip", "prompt"))
    check_mergeable(drawn("clip", "vision-head"))


@dataclass
class Stand:
    """As much of a base as merging LoRA needs."""

    model: nn.Module


@pytest.mark.parametrize("kind", ["fused", "packed"])
def test_packed_projections(kind: str) -> None:
    blocks = [FusedBlock(), FusedBlock()] if kind == "fused" else [PackedBlock(), PackedBlock(batch_first=False)]
    where, out = ("qkv", "proj") if kind == "fused" else ("attn", "attn.out_proj")
    one = adapter(
        lora(f"blocks.0.{where}#q", 8, 8, 2, 0.5, 1) | lora(f"blocks.0.{where}#v", 8, 8, 3, 2.0, 2)
        | lora(f"blocks.1.{where}#k", 8, 8, 1, 2.0, 3) | lora(f"blocks.1.{out}", 8, 8)
    )  # fmt: skip
    model = net(*blocks)
    x = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        frozen = model(x)
        with Binding(model).wearing(dict(expand(one, 1).items())):
            wanted = model(x)
        merge(Stand(model), one)  # type: ignore[arg-type]
        assert (model(x) - wanted).abs().max() < 1e-6 * wanted.abs().max()
    assert (wanted - frozen).abs().max() > 1e-2


def test_another_base() -> None:
    with pytest.raises(SynopticError, match=r"weights for 'blocks\.9', which this model lacks"):
        merge(Stand(net(FusedBlock())), adapter(lora("blocks.9", 8, 8)))  # type: ignore[arg-type]
