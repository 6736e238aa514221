from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from answerers import FAMILIES, QUESTIONS, base, lora, mixed_rows, reference, row_inputs
from helpers import randomised
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves, names, stack_of
from synoptic.core import SynopticError
from synoptic.models.answerer import Answerer

SPECS: dict[str, dict[str, Any]] = {
    "decoder": {"text": {"lora": {"layers": 2, "targets": ["q", "k", "v", "o", "fc1", "fc2", "gate"]}}},
    "connector": {"connector": {"lora": {"rank": 2}}},
    "all": {"text": lora(), "connector": "lora", "vision": lora(rank=2)},
}


def adapters(model: Answerer, what: str, clients: int = 3) -> TensorDict:
    one = model.new_adapter(AdapterSpec.model_validate(SPECS[what]), 0)
    return stack_of([randomised(one, seed, 0.1) for seed in range(clients)])


def totals(model: Answerer, stack: Any, views: list[Any], rows: Any) -> torch.Tensor:
    """Log-probability of every row's answer, from the bottom."""
    with torch.no_grad(), model.wearing(stack):
        return model.scores(model.embed(rows, model.features(views)), rows, 0).total


@pytest.mark.parametrize("family", FAMILIES)
def test_every_depth_gives_the_logits_of_the_library(family: str) -> None:
    model, plain = base(family), reference(family)
    views, rows = mixed_rows(model)
    with torch.no_grad():
        hidden = model.embed(rows, model.features(views))
        for depth in range(len(model.decoder.blocks) + 1):
            logits = model.decoder.head(model.decoder.norm(model.run(model.run(hidden, rows, 0, depth), rows, depth)))
            for row, view in enumerate(views):
                length = int(rows.length[row])
                theirs = plain(**row_inputs(model, view, rows.ids[row, :length])).logits[0]
                assert torch.allclose(logits[row, :length], theirs, atol=1e-4), (depth, row)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_is_the_loss_of_the_library(family: str) -> None:
    model, plain = base(family), reference(family)
    views, rows = mixed_rows(model)
    with torch.no_grad():
        scores = model.scores(model.embed(rows, model.features(views)), rows, 0)
        for row, view in enumerate(views):
            ids = rows.ids[row, : int(rows.length[row])]
            labels = ids.clone()
            labels[: int(rows.prompt[row])] = -100
            loss = plain(**row_inputs(model, view, ids), labels=labels[None]).loss
            assert float(-scores.mean[row]) == pytest.approx(float(loss), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_permuting_a_batch_permutes_the_results(family: str) -> None:
    model = base(family)
    views, rows = mixed_rows(model)
    order = torch.tensor([2, 0, 3, 1])
    here = totals(model, {}, views, rows)
    there = totals(model, {}, [views[place] for place in order], rows.take(order))
    assert torch.allclose(there, here[order], atol=1e-5)
    assert len({round(float(value), 3) for value in here}) == 4, "rows must differ"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", SPECS)
def test_stacked_equals_sequential(family: str, what: str) -> None:
    model = base(family)
    stack = adapters(model, what)
    views, rows = mixed_rows(model)
    # Every client has pictures of its own sizes, so their shares of the patches are of different lengths.
    own = torch.tensor([[0, 1], [2, 3], [1, 1]])
    together = totals(model, stack, [views[place] for place in own.flatten()], rows.take(own.flatten()))
    for k in range(3):
        alone = totals(model, stack[k : k + 1], [views[place] for place in own[k]], rows.take(own[k]))
        assert torch.allclose(together[2 * k : 2 * k + 2], alone, atol=1e-4)
    bare = totals(model, {}, [views[place] for place in own[0]], rows.take(own[0]))
    assert (together[:2] - bare).abs().min() > 1e-3, "the adapter must show"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_changes_nothing_and_gradients_reach_all_of_it(family: str) -> None:
    model = base(family)
    one = model.new_adapter(AdapterSpec.model_validate(SPECS["all"]), 0)
    views, rows = mixed_rows(model)
    assert torch.allclose(totals(model, expand(one, 1), views, rows), totals(model, {}, views, rows), atol=1e-5)
    worn = {name: tensor.clone().requires_grad_(not name.endswith("/scale"))
            for name, tensor in leaves(randomised(expand(one, 2), 0)).items()}  # fmt: skip
    with model.wearing(worn):
        model.scores(model.embed(rows, model.features(views)), rows, 0).mean.sum().backward()
    # What an image tower computes behind its last attention may be read by nobody (LLaVA drops the class token only).
    unmoved = [name for name, t in worn.items() if t.requires_grad and (t.grad is None or not t.grad.any())]
    assert not unmoved
    assert all(parameter.grad is None for parameter in model.model.parameters())


@pytest.mark.parametrize(
    ("spec", "depth", "sees"),
    [({"text": "lora"}, 1, False), ({"text": {"lora": {"layers": [2]}}}, 2, False), ({"connector": "lora"}, 0, True),
     ({"text": "lora", "vision": {"lora": {"layers": 1}}}, 0, True), ({"text": lora()}, 0, False)],
)  # fmt: skip
def test_entry(spec: dict[str, Any], depth: int, sees: bool) -> None:
    one = base().new_adapter(AdapterSpec.model_validate(spec), 0)
    assert (base().entry(one), base().sees(one)) == (depth, sees)
    assert base().entry({}) == 3, "nothing is adapted, so nothing is left to run"


def test_names_say_where_a_pair_sits() -> None:
    one = base().new_adapter(AdapterSpec.model_validate({"text": {"lora": {"layers": [1], "targets": ["gate"]}}}), 0)
    assert names(one) == [
        f"text/lora/model.language_model.layers.1.mlp.gate_proj/{part}" for part in ("A", "B", "scale")
    ]
    assert one[names(one)[0]].shape == (4, 32)
    connector = base().new_adapter(AdapterSpec.model_validate({"connector": {"lora": {"rank": 2, "alpha": 6}}}), 0)
    assert {name.rpartition("/")[0] for name in names(connector)} == {
        "connector/lora/model.multi_modal_projector.linear_1", "connector/lora/model.multi_modal_projector.linear_2"
    }  # fmt: skip
    assert connector["connector/lora/model.multi_modal_projector.linear_1/scale"] == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [({}, "trains nothing: image tower, connector and decoder are frozen; set adapter.text"),
     ({"text": {"prompt": 3}}, "prompts and heads are for dual encoders; set adapter.text"),
     ({"vision": "head"}, "prompts and heads are for dual encoders"),
     ({"text": {"lora": {"layers": 9}}}, r"layers=9 asks for more blocks than the tower's 3; use 1 to 3"),
     ({"vision": {"lora": {"targets": ["gate"]}}}, r"has no weight for gate; it has: fc1, fc2, k, o, q, v"),
     ({"connector": {"lora": {"rank": 99}}}, r"rank 99 exceeds model.multi_modal_projector.linear_1, which is 32 x 32"),
     ({"text": {"lora": {"rank": 99}}}, r"rank 99 exceeds model.language_model.layers.1.self_attn.q_proj")],
)  # fmt: skip
def test_what_cannot_be_adapted(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SynopticError, match=message):
        base().new_adapter(AdapterSpec.model_validate(spec), 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_base_is_close_and_what_matters_stays_float32(family: str) -> None:
    full, half = base(family), base(family, "bfloat16")
    stack = adapters(full, "all", 1)
    views, rows = mixed_rows(full)
    exact, close = totals(full, stack, views, rows), totals(half, stack, views, rows)
    assert close.dtype == torch.float32
    assert 0 < (exact - close).abs().max() < 0.1 * exact.abs().max()
    assert all(p.dtype == torch.float32 for name, p in half.model.named_parameters() if "norm" in name)
    assert half.model.get_submodule(half.decoder.blocks[0]).self_attn.q_proj.weight.dtype == torch.bfloat16
    assert half.fingerprint == full.fingerprint


@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6)), min_size=1,
                  max_size=4)
)  # fmt: skip
def test_positions_of_qwen_are_those_of_the_library(rows: list[tuple[int, int, int, int]]) -> None:
    model = base("qwen2_vl")
    grids = [(1, 2 * height, 2 * width) for _, height, width, _ in rows]
    kinds = [[0] * before + [1] * (height * width) + [0] * after for before, height, width, after in rows]
    length = max(map(len, kinds))
    types = torch.tensor([kind + [0] * (length - len(kind)) for kind in kinds])
    theirs, delta = model.model.model.get_rope_index(torch.zeros_like(types), types, torch.tensor(grids))
    first = torch.tensor([before for before, *_ in rows])
    assert torch.equal(model.family.positions(length, first, grids), theirs)
    assert [model.family.shift(grid) for grid in grids] == delta[:, 0].tolist()


@pytest.mark.parametrize("family", ["llava", "idefics3"])
def test_prompts_are_those_of_the_librarys_processor(family: str) -> None:
    """The two families whose whole processor works without torchvision."""
    from transformers import Idefics3Processor, LlavaProcessor

    from answerers import odd_pictures

    model = base(family)
    pictures = odd_pictures([(32, 32), (24, 60), (60, 24), (40, 80)])
    if family == "llava":
        strategy = model.model.config.vision_feature_select_strategy
        whole = LlavaProcessor(model.family._processor, model.tokenizer, patch_size=8, num_additional_image_tokens=1,
                               vision_feature_select_strategy=strategy)  # fmt: skip
    else:
        whole = Idefics3Processor(model.family._processor, model.tokenizer, image_seq_len=4)
    views = model.family.views(pictures)
    ours = model.prompts.encode(QUESTIONS, [view.grid for view in views], None, ["a row"] * 4)
    for row, question in enumerate(QUESTIONS):
        theirs = whole(images=[pictures[row]], text=[f"<image>{question} "], return_tensors="pt")
        assert ours.ids[row, : int(ours.length[row])].tolist() == theirs["input_ids"][0].tolist()
        assert torch.allclose(views[row].pixels, theirs["pixel_values"][0])
