"""The bare loops are the yardstick, so they are held to the engine's numbers, and to themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from helpers import base, clip_folder, randomised

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.bare import (
    Workload,
    embed,
    embed_pooled,
    embed_prompts,
    fedavg_round,
    load_clip,
    lora_loss,
    put,
    read_workload,
    train,
    wear,
)
from benchmarks.cases.overhead import agreement
from benchmarks.workload import bare_names, evenly, farthest, job, large_digits, save

from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves
from synoptic.learning.spec import TrainSpec

LORA = {"vision": {"lora": {"rank": 2, "layers": 2}}}
TRAIN = TrainSpec(lr=1e-2, batch_size=4)


@pytest.fixture
def plain() -> Workload:
    """Twelve digits at three clients, on the tests' random CLIP."""
    return job(base(), evenly(large_digits(12, 32), 3), LORA, cache=False, train=TRAIN).plain(rounds=2)


def test_the_library_and_the_pooled_forward_agree_under_lora(plain: Workload) -> None:
    model = load_clip(clip_folder())
    parameters = wear(model, plain.start)
    put(parameters, {name: torch.randn_like(tensor) * 0.1 for name, tensor in plain.start.items()})
    pixels = plain.pixels_N3HW[:5]
    torch.testing.assert_close(embed_pooled(model, pixels), embed(model, pixels), rtol=1e-4, atol=1e-5)


def test_worn_lora_is_what_synoptic_wears(plain: Workload) -> None:
    model = load_clip(clip_folder())
    adapter = randomised(base().new_adapter(AdapterSpec.model_validate(LORA), 0), seed=1)
    put(wear(model, plain.start), bare_names(leaves(adapter)))
    with base().wearing(expand(adapter, 1)):
        ours = base().image_suffix(base().image_prefix(plain.pixels_N3HW, 0), 0)
    theirs = torch.nn.functional.normalize(embed(model, plain.pixels_N3HW), dim=-1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_prompts_are_what_synoptic_makes() -> None:
    tokens = base().tokenize(["a photo of a red circle .", "seven"])
    adapter = base().new_adapter(AdapterSpec.model_validate({"text": "prompt"}), 0)
    with base().wearing(expand(adapter, 1)):
        ours = base().text_suffix(tokens, base().text_prefix(tokens, 0), 0, clients=1)[0]
    theirs = embed_prompts(load_clip(clip_folder()), tokens.ids_NT, adapter["text/prompt/context"])
    torch.testing.assert_close(ours, torch.nn.functional.normalize(theirs, dim=-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("cache", [True, False])
def test_two_rounds_of_both_sides_end_with_the_same_weights(plain: Workload, stack: int, cache: bool) -> None:
    here = job(base(), evenly(large_digits(12, 32), 3), LORA, cache=cache, train=TRAIN).server(stack)
    model = load_clip(clip_folder())
    parameters, shared = wear(model, plain.start), plain.start
    for t in range(2):
        shared = fedavg_round(parameters, lora_loss(model, plain), shared, plain, t)
        ours = here.round(t) if t else here.first()
    assert farthest(ours, shared) < 1e-5
    assert farthest(ours, plain.start) > 1e-3


def test_training_moves_only_what_it_is_given(plain: Workload) -> None:
    model = load_clip(clip_folder())
    parameters = wear(model, plain.start)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    train(list(parameters.values()), lora_loss(model, plain), plain.rows(0, 1), plain.lr, plain.batch_size)
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    assert len(frozen) + len(parameters) == len(list(model.parameters()))


def test_a_job_survives_its_file(plain: Workload, tmp_path: Path) -> None:
    save(plain, tmp_path / "job.safetensors")
    again = read_workload(tmp_path / "job.safetensors")
    assert (again.offsets, again.lr, again.batch_size) == (plain.offsets, plain.lr, plain.batch_size)
    assert again.start.keys() == plain.start.keys()
    for name in ("pixels_N3HW", "labels_N", "texts_CE", "order_RN"):
        assert torch.equal(getattr(again, name), getattr(plain, name))


def test_every_example_is_seen_once_in_every_round(plain: Workload) -> None:
    for t in range(2):
        seen = torch.cat([plain.rows(t, client) for client in range(plain.clients)])
        assert sorted(seen.tolist()) == list(range(12))
    assert not torch.equal(plain.order_RN[0], plain.order_RN[1])


def test_sides_that_disagree_are_not_timed() -> None:
    one = {"a/A": torch.zeros(2)}
    assert agreement(one, {"a/A": torch.full((2,), 1e-6)}) == pytest.approx(1e-6)
    with pytest.raises(RuntimeError, match=r"weights are 0\.1 apart"):
        agreement(one, {"a/A": torch.full((2,), 0.1)})
    with pytest.raises(RuntimeError, match="apart"):
        agreement(one | {"b/A": torch.zeros(2)}, {"a/A": torch.zeros(2), "b/A": torch.full((2,), float("nan"))})
    with pytest.raises(ValueError, match="different tensors"):
        agreement(one, {"b/A": torch.zeros(2)})
