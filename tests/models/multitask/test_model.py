from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import base
from synoptic.adapters.blocks import blocks_of
from synoptic.adapters.stack import leaves, names, trainable_names
from synoptic.core import SynopticError
from synoptic.data.tasks import Task
from synoptic.models.multitask import MultiTask, MultiTaskSpec
from synoptic.models.multitask.backbone import features
from synoptic.models.multitask.heads import Patches
from tasking import TASKS, TEXTS, drawn, inputs, multitask, output, pictures

FAMILIES = ("clip", "siglip")
KINDS = [(name, modality) for name, task in TASKS.items() for modality in task.modalities]


def run(model: MultiTask, stack: Any, name: str, given: dict[str, Any], first: int = 0) -> torch.Tensor:
    worn = leaves(stack)
    with torch.no_grad():
        return output(model, worn, name, model.read(worn, name, **given), first)


# -- blocks --------------------------------------------------------------------------------------------------------


def test_the_path_of_a_fused_task_names_every_block_once() -> None:
    assert multitask().path("questions") == (
        "encoder/image", "encoder/text", "mote/shared", "mote/image", "expert/shared", "expert/image",
        "expert/image.questions", "mote/text", "expert/text", "expert/text.questions", "mome/shared",
        "mome/questions", "head/questions",
    )  # fmt: skip


def test_a_client_owns_the_paths_of_its_tasks_and_nothing_else() -> None:
    model = multitask()
    mine = ["shapes", "colours"]
    stack = model.new_adapter(mine, 0)
    assert set(blocks_of(stack)) == set(model.path("shapes")) | set(model.path("colours")) == set(model.blocks(mine))
    wanted = {name: shape for shapes in model.blocks(mine).values() for name, shape in shapes.items()}
    assert {name: tuple(stack[name].shape) for name in names(stack)} == wanted
    assert not any("captions" in name or name.startswith("expert/text.shapes") for name in names(stack))


def test_a_block_starts_the_same_whoever_makes_it() -> None:
    model = multitask()
    all_of_them, mine = model.new_adapter(TASKS, 3), model.new_adapter(["questions"], 3)
    assert all(torch.equal(mine[name], all_of_them[name]) for name in names(mine))
    other = model.new_adapter(["questions"], 4)
    assert any(not torch.equal(mine[name], other[name]) for name in names(mine))


def test_tasks_of_a_family_share_the_backbone_and_not_the_head() -> None:
    kin = [Task(name, "classify", ("image",), labels, "classes") for name, labels in
           (("animals", ("cat", "dog")), ("fruits", ("fig", "pear", "plum")))]  # fmt: skip
    model = MultiTask(base(), kin, MultiTaskSpec(rank=8, head_rank=8))
    differ = set(model.path("animals")) ^ set(model.path("fruits"))
    assert differ == {"head/animals", "head/fruits"}
    assert "mome/classes" in model.path("animals")


def test_a_frozen_encoder_has_no_block() -> None:
    model = MultiTask(base(), TASKS.values(), MultiTaskSpec(image=None, rank=8, head_rank=8))
    assert "encoder/image" not in model.path("questions")
    assert model.depth(model.new_adapter(["questions"], 0), "image") == 3
    assert model.depth(model.new_adapter(["questions"], 0), "text") == 2


# -- R2: what an output depends on, what a gradient reaches ----------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "modality"), KINDS)
def test_r2_every_input_reaches_every_head_that_reads_it(family: str, name: str, modality: str) -> None:
    model, given = multitask(family), inputs(name, 2)
    stack = drawn(model, [name], 1)
    before = run(model, stack, name, given)
    if modality == "image":
        given["pixels"][0, 1, 13, 21] += 1.0
    else:
        given["texts"][0] = given["texts"][0].replace("red", "seven")
    apart = (run(model, stack, name, given) - before).flatten(1).abs().amax(1)
    assert apart[0] > 1e-5
    assert apart[1] == 0, "another row must not notice"


@given(st.integers(0, 2), st.integers(0, 31), st.integers(0, 31), st.sampled_from(["shapes", "questions", "pictures"]))
def test_r2_any_pixel_counts(colour: int, y: int, x: int, name: str) -> None:
    model, given_ = multitask(), inputs(name, 1)
    stack = drawn(model, [name], 1)
    before = run(model, stack, name, given_)
    given_["pixels"][0, colour, y, x] += 2.0
    assert (run(model, stack, name, given_) - before).abs().max() > 1e-5


@pytest.mark.parametrize("place", range(6))
def test_r2_any_word_of_a_question_counts(place: int) -> None:
    words = TEXTS[0].split()
    words[place] = "digit"
    model, pixels = multitask(), pictures(1)
    stack = drawn(model, ["questions"], 1)
    before, after = (run(model, stack, "questions", {"pixels": pixels, "texts": [text]})
                     for text in (TEXTS[0], " ".join(words)))  # fmt: skip
    assert (after[:, 0] - before[:, 0]).abs().max() > 1e-5, "the first word already depends on the question"


@pytest.mark.parametrize("name", TASKS)
def test_r2_the_gradient_of_a_task_touches_exactly_its_path(name: str) -> None:
    model = multitask()
    stack = drawn(model, TASKS, 2)
    worn = {key: tensor.clone().requires_grad_() for key, tensor in leaves(stack).items()}
    seen = model.read(worn, name, **inputs(name, 4))
    weight = torch.linspace(-1, 1, output(model, worn, name, seen).numel())
    (output(model, worn, name, seen).log_softmax(-1).flatten() * weight).sum().backward()
    touched = {key for key, tensor in worn.items() if tensor.grad is not None and bool(tensor.grad.any())}
    path = model.path(name)
    expected = {key for block in path for key in blocks_of(stack)[block] if not key.endswith("/scale")}
    assert {key for key in touched if not key.endswith("/scale")} == expected
    assert expected <= set(trainable_names(stack))


# -- wearing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", TASKS)
def test_stacked_is_one_by_one(family: str, name: str) -> None:
    model, given = multitask(family), inputs(name, 6)
    stack = drawn(model, [name], 3)
    together = run(model, stack, name, given)
    for k in range(3):
        mine = {what: rows[2 * k : 2 * k + 2] for what, rows in given.items()}
        alone = run(model, stack[k : k + 1], name, mine, first=2 * k)
        # Answers are as long as the longest in the batch.
        assert torch.allclose(together[2 * k : 2 * k + 2, : alone.shape[1]], alone, atol=1e-5)
    others = run(model, stack[[1, 0, 2]], name, given)
    assert (others[0] - together[0]).abs().max() > 1e-4, "clients must differ"


@pytest.mark.parametrize("name", TASKS)
def test_starting_at_the_entry_is_starting_at_the_bottom(name: str) -> None:
    model, given = multitask(), inputs(name, 2)
    stack = drawn(model, [name], 1)
    worn = leaves(stack)
    from_entry = run(model, stack, name, given)
    bottom: dict[Any, Any] = {}
    with torch.no_grad(), model.base.wearing(worn):
        if "pixels" in given:
            hidden = model.base.vision.embed(given["pixels"])
            bottom["image"] = model.base.vision.states(hidden, 0)
        if "texts" in given:
            tokens = model.base.tokenize(given["texts"])
            bottom["text"] = model.base.text.states(model.base.text.embed(tokens), 0)
    assert model.depth(worn, TASKS[name].modalities[0]) == 2, "one block of three is adapted"
    seen = model.read(worn, name, **given)
    again = features(worn, TASKS[name], bottom, {m: seen.mask[:, seen.spans[m]] for m in seen.spans}, 2)
    with torch.no_grad():
        assert torch.allclose(output(model, worn, name, again), from_entry, atol=1e-5)


def test_a_fresh_backbone_leaves_the_bases_features_alone() -> None:
    model = multitask()
    worn = leaves(model.new_adapter(["shapes", "pictures"], 0).unsqueeze(0))
    one, other = (model.read(worn, name, pixels=pictures(2)).tokens for name in ("shapes", "pictures"))
    assert torch.equal(one, other), "as long as nothing is trained, tasks see the same"


def test_a_base_in_bfloat16_gives_nearly_the_same() -> None:
    half = MultiTask(base("clip", "bfloat16"), TASKS.values(), multitask().spec)
    stack = drawn(half, ["questions"], 2)
    found, expected = (run(model, stack, "questions", inputs("questions", 4)) for model in (half, multitask()))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_latent_is_the_mean_of_one_modalitys_real_tokens() -> None:
    model = multitask()
    worn = leaves(drawn(model, ["questions"], 1))
    seen = model.read(worn, "questions", pixels=pictures(2), texts=["seven", TEXTS[0]])
    text, real = seen.tokens[:, seen.spans["text"]], seen.mask[:, seen.spans["text"]]
    for row in range(2):
        assert torch.allclose(seen.latent("text")[row], text[row, real[row]].mean(0), atol=1e-6)
    assert int(real[0].sum()) == 3, "start, word, end"
    assert torch.allclose(seen.latent("image"), seen.tokens[:, seen.spans["image"]].mean(1), atol=1e-6)


def test_padding_is_not_seen() -> None:
    model = multitask()
    stack = drawn(model, ["colours"], 1)
    alone = run(model, stack, "colours", {"texts": ["seven"]})
    beside = run(model, stack, "colours", {"texts": ["seven", TEXTS[0]]})
    assert torch.allclose(alone[0], beside[0], atol=1e-5)


# -- bad input -------------------------------------------------------------------------------------------------------


def test_two_tasks_of_one_name_with_other_labels_are_refused_with_both() -> None:
    other = Task("shapes", "classify", ("image",), ("cat", "dog"))
    with pytest.raises(
        SynopticError, match=r"'shapes' and differ in labels: \(circle, seven, digit\), and \(cat, dog\)"
    ):
        MultiTask(base(), [*TASKS.values(), other])


@pytest.mark.parametrize(("given", "missing"), [({"pixels": pictures(1)}, "text"), ({"texts": ["red"]}, "image")])
def test_a_missing_modality_is_told(given: dict[str, Any], missing: str) -> None:
    model = multitask()
    worn = leaves(drawn(model, ["questions"], 1))
    with pytest.raises(SynopticError, match=f"'questions' reads image and text, and {missing} is missing"):
        model.read(worn, "questions", **given)


def test_a_task_that_nobody_has_is_told() -> None:
    with pytest.raises(SynopticError, match="no task called 'shape'; did you mean 'shapes'"):
        multitask().path("shape")


def test_a_head_gives_only_what_it_can() -> None:
    model = multitask()
    worn = leaves(drawn(model, ["shapes"], 1))
    with pytest.raises(SynopticError, match="'shapes' is to classify, not to reconstruct"):
        model.pixels(worn, "shapes", model.read(worn, "shapes", pixels=pictures(1)))


def test_heads_must_divide_the_rank() -> None:
    with pytest.raises(SynopticError, match=r"backbone.rank=6 cannot be shared by 4 heads"):
        MultiTaskSpec(rank=6)


def test_a_pooling_head_is_not_used() -> None:
    with pytest.raises(SynopticError, match=r"lora.pooling adapts a head that models of several tasks do not use"):
        MultiTaskSpec.model_validate({"image": {"pooling": True}})


def test_every_token_is_projected_as_the_pooled_one() -> None:
    encoder, tokens = base(), base().tokenize(TEXTS[:2])
    image, text = encoder.vision.embed(pictures(2)), encoder.text.embed(tokens)
    with torch.no_grad():
        assert torch.allclose(encoder.vision.states(image, 0)[:, 0], encoder.vision.finish(image, 0), atol=1e-5)
        places = encoder.text.states(text, 0)[torch.arange(2), tokens.pool_N]
        assert torch.allclose(places, encoder.text.finish(text, tokens.pool_N, 0), atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 4))
def test_patches_lie_where_the_tower_took_them(side: int, size: int) -> None:
    pixels = torch.randn(2, 3, side * size, side * size, generator=torch.Generator().manual_seed(0))
    cut = pixels.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5).reshape(2, side**2, -1)
    assert torch.equal(Patches(side, size).joined(cut), pixels)
