from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import FusedBlock, PackedBlock, base, net
from synoptic.adapters.sites import chosen_blocks, find_sites, init_lora, split_name
from synoptic.adapters.spec import AdapterSpec, LoraSpec, TowerSpec
from synoptic.core import SynopticError
from synoptic.core.seeds import generator


def found(model: nn.Module, **settings: object) -> list[tuple[str, int, int]]:
    spec = LoraSpec.model_validate({"layers": "all", **settings})
    return [(site.name, site.outputs, site.inputs) for site in find_sites(model, ["blocks.0"], spec)]


def test_a_fused_linear_has_three_sites_and_its_projection() -> None:
    assert found(net(FusedBlock()), targets=("q", "v", "o")) == [
        ("blocks.0.qkv#q", 8, 8), ("blocks.0.qkv#v", 8, 8), ("blocks.0.proj", 8, 8),
    ]  # fmt: skip


def test_packed_attention_has_three_sites_and_its_projection() -> None:
    assert [name for name, _, _ in found(net(PackedBlock()), targets=("k", "o", "fc1"))] == [
        "blocks.0.attn#k", "blocks.0.attn.out_proj", "blocks.0.fc1",
    ]  # fmt: skip


def test_attention_with_more_than_a_packed_weight_is_not_offered() -> None:
    block = PackedBlock()
    for attention in (nn.MultiheadAttention(8, 2, kdim=4), nn.MultiheadAttention(8, 2, add_bias_kv=True)):
        block.attn = attention
        with pytest.raises(SynopticError, match=r"block 'blocks\.0' has no weight for o; it has: fc1"):
            found(net(block), targets=("o",))


def test_rectangular_weights_keep_their_sizes() -> None:
    block = nn.Module()
    block.fc1, block.fc2 = nn.Linear(8, 32), nn.Linear(32, 8)
    assert found(net(block), targets=("fc1", "fc2")) == [("blocks.0.fc1", 32, 8), ("blocks.0.fc2", 8, 32)]


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_sites_of_real_towers(family: str) -> None:
    model = base(family)
    names = [site.name for site in model.sites("text", LoraSpec(layers=(0, 2), targets=("q", "fc2")))]
    assert names == [
        f"text_model.encoder.layers.{i}.{what}" for i in (0, 2) for what in ("self_attn.q_proj", "mlp.fc2")
    ]


def test_pooling_head_only_when_asked_and_only_where_there_is_one() -> None:
    assert len(base("siglip").sites("vision", LoraSpec())) == 6
    names = [site.name for site in base("siglip").sites("vision", LoraSpec(pooling=True))]
    assert names[6:] == [f"vision_model.head.attention#{part}" for part in "qkv"]
    assert len(base("clip").sites("vision", LoraSpec(pooling=True))) == 6


def test_targets_that_match_nothing() -> None:
    with pytest.raises(SynopticError, match=r"block 'blocks\.0' has no weight for fc1, fc2; it has: k, o, q, v\.$"):
        found(net(FusedBlock()), targets=("q", "fc2", "fc1"))


def test_a_block_with_nothing_known() -> None:
    with pytest.raises(SynopticError, match=r"it has: none that Synoptic knows\.$"):
        found(net(nn.Sequential(nn.Linear(3, 3))), targets=("q",))


def test_rank_too_large() -> None:
    with pytest.raises(SynopticError, match=r"rank 9 exceeds blocks\.0\.qkv#q, which is 8 x 8; use a rank of at"):
        found(net(FusedBlock()), rank=9)


@pytest.mark.parametrize(
    ("layers", "expected"), [(1, [3]), (4, [0, 1, 2, 3]), ("all", [0, 1, 2, 3]), ((2, 0, 2), [0, 2])]
)
def test_layers(layers: int | str | tuple[int, ...], expected: list[int]) -> None:
    assert chosen_blocks(4, layers) == expected


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [(5, "layers=5 asks for more blocks than the tower's 4; use 1 to 4."),
     (0, "layers=0 asks for no block at all; use 1 to 4."),
     ((1, 4), "layers=[1, 4] names blocks a tower of 4 lacks; use 0 to 3."),
     ((-1,), "layers=[-1] names blocks a tower of 4 lacks; use 0 to 3."),
     ((), "layers=[] names no block at all; use 0 to 3.")],
)  # fmt: skip
def test_layers_out_of_range(layers: int | tuple[int, ...], sentence: str) -> None:
    with pytest.raises(SynopticError) as caught:
        chosen_blocks(4, layers)
    assert str(caught.value) == sentence


def test_split_name() -> None:
    assert split_name("a.qkv#k") == ("a.qkv", "k")
    assert split_name("a.q_proj") == ("a.q_proj", None)


def test_fresh_factors_are_no_update_and_depend_on_the_seed_only() -> None:
    spec = LoraSpec(rank=3, alpha=6, layers="all")
    sites = find_sites(net(FusedBlock()), ["blocks.0"], spec)
    first, again, other = (init_lora("vision", sites, spec, generator(seed, "a")) for seed in (0, 0, 1))
    A = first["vision/lora/blocks.0.qkv#q/A"]
    assert A.shape == (3, 8)
    assert A.abs().max() <= 8**-0.5
    assert A.abs().max() > 0.8 * 8**-0.5
    assert not first["vision/lora/blocks.0.qkv#q/B"].any()
    assert first["vision/lora/blocks.0.qkv#q/scale"] == 2
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(A, other["vision/lora/blocks.0.qkv#q/A"])


def test_words_for_towers() -> None:
    spec = AdapterSpec.model_validate({"vision": "lora", "text": {"prompt": 7, "lora": {"layers": [0, 1]}}})
    assert spec.vision.lora == LoraSpec()
    assert spec.text.prompt is not None
    assert spec.text.prompt.length == 7
    assert spec.text.lora is not None
    assert spec.text.lora.layers == (0, 1)
    assert TowerSpec.model_validate("frozen").frozen
    with pytest.raises(ValueError, match="'lorra' is no way to adapt a tower; choose one of: frozen, lora"):
        AdapterSpec.model_validate({"vision": "lorra"})
