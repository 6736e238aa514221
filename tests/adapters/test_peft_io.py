from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensordict import TensorDict
from torch import Tensor, nn

from helpers import FOLDERS, SENTENCES, FusedBlock, PackedBlock, base, lora, net, randomised, reference
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.binding import Binding
from synoptic.adapters.peft_io import export_peft, import_peft
from synoptic.adapters.spec import AdapterSpec, LoraSpec, PromptSpec, TowerSpec
from synoptic.adapters.stack import adapter, expand, names, stack_of
from synoptic.core import SynopticError
from synoptic.models.load import shared_dual_encoder


def spec(vision: LoraSpec | None = None, text: LoraSpec | None = None, **more: Any) -> AdapterSpec:
    return AdapterSpec(vision=TowerSpec(lora=vision), text=TowerSpec(lora=text, **more))


def pixels(n: int = 3) -> Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def ours(family: str, one: TensorDict) -> tuple[Tensor, Tensor]:
    model = base(family)
    tokens = model.tokenize(SENTENCES)
    with torch.no_grad(), model.wearing(expand(one, 1)):
        image = model.image_suffix(model.image_prefix(pixels(), 0), 0)
        text = model.text_suffix(tokens, model.text_prefix(tokens, 0), 0, 1)[0]
    return image, text


def theirs(family: str, model: nn.Module) -> tuple[Tensor, Tensor]:
    tokens = base(family).tokenize(SENTENCES)
    with torch.no_grad():
        out = model(input_ids=tokens.ids_NT, pixel_values=pixels())
    return out.image_embeds, out.text_embeds


def load_peft(model: nn.Module, folder: Path) -> nn.Module:
    from peft import PeftModel

    with warnings.catch_warnings():
        # Missing or unexpected keys are warnings in PEFT; here they are failures.
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        return PeftModel.from_pretrained(model, folder).eval()


def mixed(family: str) -> TensorDict:
    """Sites that differ in rank and in alpha / rank, zero-padded ones among them."""
    model = base(family)
    small = model.new_adapter(spec(LoraSpec(rank=2, alpha=3, layers="all")), 1)
    large = model.new_adapter(spec(LoraSpec(rank=5, alpha=8, layers=1), LoraSpec(rank=3, targets=("q", "fc1", "o"))), 2)
    one = {name: small[name] for name in names(small)} | {name: large[name] for name in names(large)}
    one = dict(randomised(adapter(one), 3).items())
    stem = "vision/lora/vision_model.encoder.layers.0.self_attn.q_proj"
    one[f"{stem}/A"] = torch.cat([one[f"{stem}/A"], torch.zeros(2, 32)])
    one[f"{stem}/B"] = torch.cat([one[f"{stem}/B"], torch.zeros(32, 2)], dim=1)
    return adapter(one)


def case(family: str, which: str) -> TensorDict:
    model = base(family)
    every = ("q", "k", "v", "o", "fc1", "fc2")
    specs = {
        "vision": spec(LoraSpec(rank=3, alpha=5)),
        "both": spec(LoraSpec(rank=4, targets=every), LoraSpec(rank=2, alpha=7, layers=(0, 2))),
        "text": spec(None, LoraSpec(rank=4)),
        "pooling": spec(LoraSpec(rank=2, alpha=3, pooling=True)),
        "pooling-v": spec(LoraSpec(rank=2, pooling=True, targets=("v",))),
        "pooling-o": spec(LoraSpec(rank=2, pooling=True, targets=every)),
    }
    return mixed(family) if which == "mixed" else randomised(model.new_adapter(specs[which], 0), 5)


@pytest.mark.parametrize(
    ("family", "which"),
    [(family, which) for family in FOLDERS for which in ("vision", "text", "both", "mixed")]
    + [("siglip", which) for which in ("pooling", "pooling-v")],
)
def test_plain_peft_computes_the_same_and_import_gives_it_back(family: str, which: str, tmp_path: Path) -> None:
    one = case(family, which)
    export_peft(one, tmp_path, base(family))
    frozen, worn = theirs(family, reference(family)), theirs(family, load_peft(reference(family), tmp_path))
    for plain, peft, mine in zip(frozen, worn, ours(family, one), strict=True):
        assert torch.allclose(peft, mine, atol=2e-6)
        difference = (plain - peft).abs().max()
        assert difference < 1e-6 or difference > 1e-2, "either this tower is not adapted, or plainly"
    assert (frozen[0] - worn[0]).abs().max() > 1e-2 or which == "text"
    back = import_peft(tmp_path, base(family))
    assert names(back) == names(one)
    assert all(torch.equal(back[name], one[name]) for name in names(one))


def test_vision_only_leaves_the_text_tower_alone(tmp_path: Path) -> None:
    export_peft(case("clip", "vision"), tmp_path, base())
    model = load_peft(reference(), tmp_path)
    adapted = [name for name, _ in model.named_modules() if name.endswith("lora_A")]
    assert len(adapted) == 6
    assert all("vision_model" in name for name in adapted)


def test_config_names_the_base_and_patterns_only_where_sites_differ(tmp_path: Path) -> None:
    export_peft(case("clip", "vision"), tmp_path, base())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"], config["alpha_pattern"]) == (3, 5, {}, {})
    assert config["base_model_name_or_path"] == base().name
    assert config["auto_mapping"]["base_model_class"] == "CLIPModel"
    export_peft(mixed("clip"), tmp_path, base())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["rank_pattern"]
    assert config["alpha_pattern"]


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_made_by_plain_peft(rslora: bool, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "fc2"], use_rslora=rslora,
                        rank_pattern={"fc2": 3}, alpha_pattern={r"layers\.1\.mlp\.fc2": 9})  # fmt: skip
    model = get_peft_model(reference(), config).eval()
    fill(model)
    model.save_pretrained(tmp_path)
    one = import_peft(tmp_path, base())
    for mine, peft in zip(ours("clip", one), theirs("clip", model), strict=True):
        assert torch.allclose(mine, peft, atol=2e-6)
    scale = one["text/lora/text_model.encoder.layers.1.mlp.fc2/scale"]
    assert scale == torch.tensor(9 / 3**0.5 if rslora else 9 / 3)


def fill(model: nn.Module) -> None:
    rng = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=rng) * 0.2


def attention_only(model: nn.Module) -> nn.Module:
    fill(model)
    for name, parameter in model.named_parameters():
        if "attention.base_layer.out_proj.lora_" in name:
            parameter.data.zero_()
    return model


def test_plain_peft_on_an_attention_pooling_head(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(reference("siglip"), LoraConfig(r=3, target_modules=["head.attention", "v_proj"])).eval()
    attention_only(model).save_pretrained(tmp_path)
    one = import_peft(tmp_path, base("siglip"))
    assert "vision/lora/vision_model.head.attention#k/A" in names(one)
    for mine, peft in zip(ours("siglip", one), theirs("siglip", model), strict=True):
        assert torch.allclose(mine, peft, atol=2e-6)


def test_peft_trains_an_export_further_and_all_of_it_comes_back(tmp_path: Path) -> None:
    export_peft(case("siglip", "pooling-v"), tmp_path, base("siglip"))
    model = attention_only(load_peft(reference("siglip"), tmp_path))
    model.save_pretrained(tmp_path)
    one = import_peft(tmp_path, base("siglip"))
    assert "vision/lora/vision_model.head.attention#q/A" in names(one), "only v was adapted before"
    assert torch.allclose(ours("siglip", one)[0], theirs("siglip", model)[0], atol=2e-6)


def test_output_projection_of_packed_attention_stays_beside_peft(tmp_path: Path) -> None:
    one, model = case("siglip", "pooling-o"), base("siglip")
    export_peft(one, tmp_path, model)
    beyond = "vision/lora/vision_model.head.attention.out_proj"
    extra = load_file(tmp_path / "synoptic_extra.safetensors")
    assert sorted(extra) == [f"{beyond}/{part}" for part in ("A", "B", "scale")]
    rest = adapter({name: one[name] for name in names(one) if not name.startswith(f"{beyond}/")})
    peft = load_peft(reference("siglip"), tmp_path)
    assert torch.allclose(theirs("siglip", peft)[0], ours("siglip", rest)[0], atol=2e-6)
    back = import_peft(tmp_path, model)
    assert all(torch.equal(back[name], one[name]) for name in names(one))


def test_peft_still_adds_the_output_projection_of_packed_attention_twice() -> None:
    """The reason for the exception above; when this fails, PEFT is mended and the exception can go."""
    from peft import LoraConfig, get_peft_model

    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    model = get_peft_model(net(PackedBlock()), LoraConfig(r=2, lora_alpha=2, target_modules=["attn"])).eval()
    fill(model)
    wrapped = model.base_model.model.blocks[0].attn
    for weight in (wrapped.lora_A.default.weight, wrapped.lora_B.default.weight):
        weight.data.zero_()
    out = wrapped.base_layer.out_proj
    plain = net(PackedBlock())
    plain.blocks[0].attn.out_proj.weight += 2 * out.lora_B.default.weight.data @ out.lora_A.default.weight.data
    assert torch.allclose(model(x), plain(x), atol=1e-5)


def test_plain_peft_that_trained_an_output_projection_of_packed_attention(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(reference("siglip"), LoraConfig(r=3, target_modules=["head.attention"]))
    fill(model)
    model.save_pretrained(tmp_path)
    assert "'vision_model.head.attention.out_proj' of an nn.MultiheadAttention, which PEFT" in sentence(tmp_path)


@dataclass
class SmallBase:
    model: nn.Module
    name: str = "small"
    fingerprint: str = "0"


def packed_adapter(kind: str) -> tuple[SmallBase, TensorDict]:
    if kind == "fused":
        model = net(FusedBlock(), FusedBlock())
        sites = lora("blocks.0.qkv#q", 8, 8, 2, 0.5, 1) | lora("blocks.0.qkv#v", 8, 8, 3, 0.5, 2)
        return SmallBase(model), adapter(sites | lora("blocks.1.qkv#k", 8, 8, 1, 2.0, 3) | lora("blocks.1.proj", 8, 8))
    model = net(PackedBlock(), PackedBlock(batch_first=False))
    sites = lora("blocks.0.attn#k", 8, 8, 2, 0.5, 1) | lora("blocks.0.attn#q", 8, 8, 4, 0.5, 2)
    return SmallBase(model), adapter(sites | lora("blocks.1.attn#v", 8, 8, 1, 2.0, 3) | lora("blocks.1.fc1", 8, 8))


@pytest.mark.parametrize("kind", ["fused", "packed"])
def test_packed_weights_round_trip_and_equal_real_peft(kind: str, tmp_path: Path) -> None:
    small, one = packed_adapter(kind)
    x = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), Binding(small.model).wearing(dict(expand(one, 1).items())):
        mine = small.model(x)
    export_peft(one, tmp_path, small)
    assert torch.allclose(mine, load_peft(packed_adapter(kind)[0].model, tmp_path)(x), atol=1e-5)
    back = import_peft(tmp_path, small)
    assert names(back) == names(one)
    assert all(torch.equal(back[name], one[name]) for name in names(one))


def test_parts_of_different_scale_keep_their_product(tmp_path: Path) -> None:
    small, _ = packed_adapter("fused")
    one = adapter(lora("blocks.0.qkv#q", 8, 8, 2, 0.5, 1) | lora("blocks.0.qkv#k", 8, 8, 2, 3.0, 2))
    export_peft(one, tmp_path, small)
    back = import_peft(tmp_path, small)
    for stem in lora_stems(one):
        assert torch.allclose(dense(back, stem), dense(one, stem), atol=1e-5)


def test_prompts_and_heads_lie_beside_peft(tmp_path: Path) -> None:
    model = base()
    whole = spec(LoraSpec(), None, prompt=PromptSpec(length=3), head=True)
    one = randomised(model.new_adapter(whole, 0), 1)
    export_peft(one, tmp_path, model)
    load_peft(reference(), tmp_path)
    assert sorted(load_file(tmp_path / "synoptic_extra.safetensors")) == ["text/head/weight", "text/prompt/context"]
    assert json.loads((tmp_path / "synoptic.json").read_text())["extra"] == ["text/head/weight", "text/prompt/context"]
    back = import_peft(tmp_path, model)
    assert all(torch.equal(back[name], one[name]) for name in names(one))
    alone = one.select("text/prompt/context")
    export_peft(alone, tmp_path, model)
    assert not (tmp_path / "adapter_config.json").exists(), "a stale file of the export before"
    assert names(import_peft(tmp_path, model)) == ["text/prompt/context"]


def test_card_says_what_how_and_on_what(tmp_path: Path) -> None:
    export_peft(case("clip", "vision"), tmp_path, base())
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\n")
    assert base().fingerprint in card
    assert "vision_model.encoder.layers.2.self_attn.v_proj` | 3 | 1.66667" in card
    assert "PeftModel.from_pretrained" in card


@pytest.mark.parametrize("name", ["tiny-clip", "folder"])
def test_the_code_on_the_card_runs(name: str, tmp_path: Path) -> None:
    model = shared_dual_encoder("tiny-clip") if name == "tiny-clip" else base()
    export_peft(model.new_adapter(spec(LoraSpec()), 0), tmp_path, model)
    code = (tmp_path / "README.md").read_text().split("```")[1].removeprefix("python")
    assert len(code.strip().splitlines()) <= 4
    found: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", str(tmp_path)), found)
    assert type(found["model"]).__name__ == "PeftModel"


def test_a_stack_is_not_one_adapter(tmp_path: Path) -> None:
    one = case("clip", "vision")
    with pytest.raises(SynopticError, match=r"a stack of 2 adapters cannot be one PEFT folder; export stack\[k\]"):
        export_peft(stack_of([one, one]), tmp_path, base())


def test_export_for_another_base(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match=r"weights for 'blocks\.9', which this base lacks"):
        export_peft(adapter(lora("blocks.9", 8, 8)), tmp_path, SmallBase(net(FusedBlock())))


def sentence(folder: Path, model: Any = None) -> str:
    with pytest.raises(SynopticError) as caught:
        import_peft(folder, model)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def exported(folder: Path) -> Path:
    export_peft(case("clip", "vision"), folder, base())
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    assert "there is no adapter folder" in sentence(tmp_path / "nowhere")
    assert "holds no adapter_config.json" in sentence(tmp_path)
    exported(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in sentence(tmp_path)
    weights.unlink()
    assert "adapter_model.safetensors does not exist" in sentence(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    assert "pickle" in sentence(tmp_path)
    weights.write_bytes(whole)
    (tmp_path / "adapter_config.json").write_text("{")
    assert "not readable JSON" in sentence(tmp_path)
    (tmp_path / "synoptic.json").write_text('{"base": 3}')
    assert "synoptic.json is damaged at" in sentence(tmp_path)


def test_missing_keys(tmp_path: Path) -> None:
    weights = exported(tmp_path) / "adapter_model.safetensors"
    tensors = load_file(weights)
    first = sorted(tensors)[0]
    save_file({key: value for key, value in tensors.items() if key != first}, weights)
    assert "lacks half of the LoRA pair of 'vision_model.encoder.layers.1.self_attn.k_proj'" in sentence(tmp_path)
    site = first.split(".lora_")[0]
    save_file({key: value for key, value in tensors.items() if not key.startswith(site)}, weights)
    assert "has no weights for 'vision_model.encoder.layers.1.self_attn.k_proj'" in sentence(tmp_path)
    (tmp_path / "synoptic.json").unlink()
    assert "has no weights for 'vision_model.encoder.layers.1.self_attn.k_proj'" in sentence(tmp_path)
    save_file(tensors | {first: torch.full_like(tensors[first], torch.nan)}, weights)
    assert "non-finite" in sentence(tmp_path)
    save_file(tensors | {"base_model.model.x.lora_magnitude_vector": torch.ones(3)}, weights)
    assert "no LoRA factor" in sentence(tmp_path)


def test_extra_file_without_its_tensor(tmp_path: Path) -> None:
    one = randomised(base().new_adapter(AdapterSpec(text="prompt"), 0), 0)
    export_peft(one, tmp_path, base())
    save_file({"other": torch.ones(1)}, tmp_path / "synoptic_extra.safetensors")
    assert "lacks text/prompt/context" in sentence(tmp_path)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"use_dora": True}, "use_dora"), ({"bias": "all"}, "bias"), ({"modules_to_save": ["head"]}, "modules_to_save"),
     ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa"), ({"peft_type": "IA3"}, "type IA3, not LORA"),
     ({"lora_alpha": None}, "no usable lora_alpha")],
)  # fmt: skip
def test_unsupported_kinds(change: dict[str, Any], word: str, tmp_path: Path) -> None:
    edit(exported(tmp_path) / "adapter_config.json", **change)
    assert word in sentence(tmp_path)


def test_real_dora_is_refused(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    get_peft_model(reference(), LoraConfig(r=2, target_modules=["q_proj"], use_dora=True)).save_pretrained(tmp_path)
    assert "uses use_dora, which is unsupported" in sentence(tmp_path)


def test_another_base(tmp_path: Path) -> None:
    exported(tmp_path)
    assert f"was made for {base().name}" in sentence(tmp_path, base("siglip"))
    (tmp_path / "synoptic.json").unlink()
    assert "which small lacks" in sentence(tmp_path, SmallBase(net(FusedBlock())))
    narrow = reference()
    narrow.vision_model.encoder.layers[1].self_attn.q_proj = nn.Linear(16, 32)
    assert "as 32 x 32, which small has as 32 x 16" in sentence(tmp_path, SmallBase(narrow))


def test_neither_tower(tmp_path: Path) -> None:
    small, one = packed_adapter("fused")
    export_peft(one, tmp_path, small)
    (tmp_path / "synoptic.json").unlink()
    assert "in no tower that Synoptic knows" in sentence(tmp_path)
