"""Several LoRA pairs on one site: names, wearing, algebra, and PEFT's format."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from helpers import FusedBlock, Net, PackedBlock, base, clients, clip_folder, lora, net, randomised, reference
from synoptic.adapters import algebra
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.binding import Binding
from synoptic.adapters.peft_io import export_peft, import_peft
from synoptic.adapters.sites import split_name
from synoptic.adapters.slots import in_slot, of_slot, site_of, slot_of, together
from synoptic.adapters.spec import AdapterSpec, LoraSpec, TowerSpec
from synoptic.adapters.stack import adapter, expand, leaves, names, stack_of
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.models.load import load_dual_encoder
from synoptic.models.merge import merge

BLOCKS = [
    ("blocks.0.proj", 8, 8),
    ("blocks.0.qkv#q", 8, 8),
    ("blocks.1.attn#v", 8, 8),
    ("blocks.1.attn.out_proj", 8, 8),
]
seeds = st.integers(0, 10_000)


def model() -> Net:
    return net(FusedBlock(), PackedBlock())


def rows(n: int) -> Tensor:
    return torch.randn(n, 5, 8, generator=generator(0, "rows"))


def slotted(count: int, ranks: tuple[int, ...] = (2, 3, 1), scale: float = 0.3) -> TensorDict:
    """Clients with one main pair on every site and one in each further slot, of different ranks and scales."""
    stacks = [clients(count, *BLOCKS, rank=rank, scale=scale * (i + 1), seed=i) for i, rank in enumerate(ranks)]
    return together(stacks[0], *(in_slot(stack, f"slot{i}") for i, stack in enumerate(stacks[1:])))


# -- names ------------------------------------------------------------------------------------------


def test_names_of_slots() -> None:
    assert split_name("a.qkv#k@own") == ("a.qkv", "k")
    assert split_name("a.q_proj@own") == ("a.q_proj", None)
    assert (site_of("vision/lora/a#q@own"), slot_of("vision/lora/a#q@own/A")) == ("vision/lora/a#q", "own")
    assert (site_of("vision/lora/a#q"), slot_of("vision/lora/a#q/A"), slot_of("text/head/weight")) == (
        "vision/lora/a#q", None, None,
    )  # fmt: skip


def test_into_a_slot_and_out_again() -> None:
    stack = clients(2, *BLOCKS)
    moved = in_slot(stack, "own")
    assert {slot_of(name) for name in names(moved)} == {"own"}
    assert {name.replace("@own", "") for name in names(moved)} == set(names(stack))
    back = of_slot(together(stack, moved), "own")
    assert names(back) == names(stack)
    assert all(back[name].data_ptr() == stack[name].data_ptr() for name in names(stack)), "nothing is copied"
    assert names(of_slot(together(stack, moved), None)) == names(stack)


def test_what_cannot_be_worn_together() -> None:
    stack = clients(2, *BLOCKS)
    with pytest.raises(SynopticError, match=r"proj/A would be worn twice; put one of the adapters into a slot"):
        together(stack, stack)
    with pytest.raises(SynopticError, match=r"client axes \[2\] and \[1\] cannot be worn together"):
        together(stack, in_slot(stack[:1], "own"))
    with pytest.raises(SynopticError, match=r"'Own/A' cannot be the name of a slot"):
        in_slot(stack, "Own/A")
    with pytest.raises(SynopticError, match=r"text/head/weight cannot move into slot 'own'; only main LoRA pairs can"):
        in_slot(adapter({"text/head/weight": torch.zeros(2, 2)}), "own")
    with pytest.raises(SynopticError, match=r"@own/A cannot move into slot 'two'"):
        in_slot(in_slot(stack, "own"), "two")


# -- wearing ----------------------------------------------------------------------------------------


def test_pairs_of_a_site_add_up() -> None:
    """Against one pair of concatenated rank, which is worn by the code for a single pair."""
    stack, x, whole = slotted(3), rows(6), model()
    binding, shown = Binding(whole), []
    for worn in (stack, algebra.joined(stack), of_slot(stack, None)):
        with binding.wearing(leaves(worn)):
            shown.append(whole(x))
    torch.testing.assert_close(shown[0], shown[1], atol=1e-4, rtol=1e-5)
    assert float((shown[0] - shown[2]).abs().max()) > 0.1


def test_slots_of_a_stack_equal_one_client_at_a_time() -> None:
    stack, x, whole = slotted(3), rows(6), model()
    binding = Binding(whole)
    with binding.wearing(leaves(stack)):
        side_by_side = whole(x)
    for k in range(3):
        with binding.wearing(leaves(stack[k : k + 1])):
            torch.testing.assert_close(
                side_by_side[2 * k : 2 * k + 2], whole(x[2 * k : 2 * k + 2]), atol=1e-4, rtol=1e-5
            )


def test_the_order_of_the_tensors_does_not_matter() -> None:
    stack, x, whole = leaves(slotted(2)), rows(4), model()
    binding = Binding(whole)
    with binding.wearing(stack):
        first = whole(x)
    with binding.wearing(dict(reversed(stack.items()))):
        assert torch.equal(whole(x), first)


def test_a_slot_whose_update_is_zero_changes_nothing() -> None:
    stack, x, whole = clients(2, *BLOCKS), rows(4), model()
    empty = in_slot(TensorDict({name: stack[name] * (not name.endswith("/B")) for name in names(stack)}, [2]), "own")
    binding = Binding(whole)
    with binding.wearing(leaves(stack)):
        plain = whole(x)
    with binding.wearing(leaves(together(stack, empty))):
        assert torch.equal(whole(x), plain)


def test_a_slot_alone_is_worn_too() -> None:
    stack, x, whole = clients(1, *BLOCKS), rows(2), model()
    binding = Binding(whole)
    with binding.wearing(leaves(stack)):
        main = whole(x)
    with binding.wearing(leaves(in_slot(stack, "own"))):
        assert torch.equal(whole(x), main)


# -- algebra ----------------------------------------------------------------------------------------


def two_slots(count: int, rank: int, seed: int) -> TensorDict:
    """A site of 7 x 5 with a main pair, a slot of another rank and scale, and a head."""
    made = []
    for k in range(count):
        main, own = (
            adapter(lora("w", 7, 5, r, s, seed=seed * 31 + 7 * k + r)) for r, s in ((rank, 0.5), (rank + 1, 2.0))
        )
        head = adapter({"text/head/weight": torch.randn(3, 3, generator=generator(seed, "head", k))})
        made.append(together(main, in_slot(own, "own"), head))
    return stack_of(made)


def whole_update(one: TensorDict) -> Tensor:
    """The slow readable twin: the sum of the O x D matrices of all pairs."""
    return torch.stack([dense(one, stem).double() for stem in lora_stems(one)]).sum(0)


@given(st.integers(1, 4), st.integers(1, 3), seeds)
def test_joined_is_the_same_update_in_one_pair(count: int, rank: int, seed: int) -> None:
    stack = two_slots(count, rank, seed)
    one = algebra.joined(stack)
    assert lora_stems(one) == ["vision/lora/w"]
    assert one["vision/lora/w/A"].shape == (count, 2 * rank + 1, 5)
    assert torch.equal(one["text/head/weight"], stack["text/head/weight"])
    for k in range(count):
        torch.testing.assert_close(
            dense(one[k], "vision/lora/w").double(), whole_update(stack[k]), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(dense(algebra.joined(stack[k]), "vision/lora/w").double(), whole_update(stack[k]),
                                   atol=1e-5, rtol=1e-5)  # fmt: skip


def test_joined_leaves_a_single_pair_as_it_is() -> None:
    stack = clients(2, *BLOCKS, scale=0.3)
    one = algebra.joined(stack)
    assert names(one) == names(stack)
    assert all(torch.equal(one[name], stack[name]) for name in names(stack))


@given(st.integers(1, 4), st.integers(1, 3), seeds)
def test_norms_and_angles_are_those_of_the_whole_update(count: int, rank: int, seed: int) -> None:
    stack = two_slots(count, rank, seed)
    flat = torch.stack([torch.cat([whole_update(one).flatten(), one["text/head/weight"].double().flatten()])
                        for one in (stack[k] for k in range(count))])  # fmt: skip
    torch.testing.assert_close(algebra.gram(stack), flat @ flat.mT, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(algebra.norms(stack), flat.norm(dim=1), rtol=1e-4, atol=1e-4)


def test_a_mean_goes_slot_by_slot() -> None:
    stack, weights = two_slots(3, 2, 0), torch.tensor([1.0, 2.0, 5.0])
    result = algebra.mean(stack, weights)
    for slot in (None, "own"):
        own = algebra.mean(of_slot(stack, slot), weights)
        assert all(torch.equal(of_slot(result, slot)[name], own[name]) for name in names(own))
    exact = sum(w * whole_update(stack[k]) for k, w in enumerate(weights / weights.sum()))
    torch.testing.assert_close(whole_update(algebra.stacking(stack, weights)), exact, atol=1e-4, rtol=1e-5)


@given(st.integers(1, 5), st.integers(1, 4), seeds)
def test_mean_and_residual_are_the_mean_of_products(count: int, rank: int, seed: int) -> None:
    """FedEx-LoRA's identity: B A of the factor means, and what they miss, make the exact mean."""
    stack = clients(count, ("w", 7, 5), rank=rank, scale=0.5, seed=seed)
    weights = torch.rand(count, generator=generator(seed, "weights")) + 0.1
    one = algebra.mean(stack, weights)
    missed = algebra.residual(stack, one, weights)
    assert missed["vision/lora/w/A"].shape == ((count + 1) * rank, 5)
    exact = sum(w * whole_update(stack[k]) for k, w in enumerate(weights.double() / weights.double().sum()))
    torch.testing.assert_close(whole_update(one) + whole_update(missed), exact, atol=1e-5, rtol=1e-5)


@given(st.integers(1, 12), st.integers(1, 12), seeds)
def test_a_sum_of_updates_is_exact_and_of_bounded_rank(first: int, second: int, seed: int) -> None:
    one, two = (
        clients(1, ("w", 7, 5), rank=rank, scale=0.5, seed=seed + i)[0] for i, rank in enumerate((first, second))
    )
    result = algebra.added(one, two)
    assert result["vision/lora/w/A"].shape[0] == min(first + second, 5)
    torch.testing.assert_close(whole_update(result), whole_update(one) + whole_update(two), atol=1e-4, rtol=1e-5)


def test_padding_is_dropped_and_nothing_else() -> None:
    stack = stack_of([adapter(lora("w", 7, 5, rank, seed=rank)) for rank in (1, 3)])
    stacked = algebra.stacking(stack, torch.ones(2))
    kept = algebra.without_padding(stacked)
    assert (stacked["vision/lora/w/A"].shape[0], kept["vision/lora/w/A"].shape[0]) == (6, 4)
    torch.testing.assert_close(whole_update(kept), whole_update(stacked))


# -- PEFT's format ----------------------------------------------------------------------------------


def with_slots(family: str) -> TensorDict:
    """Two pairs on every site of the last vision block, of different rank and scale; one in the text tower."""
    pairs = []
    for rank, alpha in ((2, 3.0), (3, 1.0)):
        spec = LoraSpec(rank=rank, alpha=alpha, layers=1, targets=("q", "v", "fc1"))
        pairs.append(randomised(base(family).new_adapter(AdapterSpec(vision=TowerSpec(lora=spec)), 0), rank))
    text = TowerSpec(lora=LoraSpec(rank=2, layers=1))
    return together(
        pairs[0], in_slot(pairs[1], "own"), randomised(base(family).new_adapter(AdapterSpec(text=text), 0), 5)
    )


def embeddings(family: str, one: TensorDict) -> Tensor:
    whole = base(family)
    pixels = torch.randn(3, 3, 32, 32, generator=generator(0, "pixels"))
    with torch.no_grad(), whole.wearing(expand(one, 1)):
        return whole.image_latent(whole.image_prefix(pixels, 0), 0)


def test_plain_peft_computes_what_slots_do(tmp_path: Path) -> None:
    from peft import PeftModel

    one = with_slots("clip")
    export_peft(one, tmp_path, base("clip"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        plain = PeftModel.from_pretrained(reference("clip"), tmp_path).eval()
    pixels = torch.randn(3, 3, 32, 32, generator=generator(0, "pixels"))
    with torch.no_grad():
        theirs = plain.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(embeddings("clip", one), theirs, atol=1e-5, rtol=1e-5)


def test_slots_come_back_from_peft_format(tmp_path: Path) -> None:
    one = with_slots("clip")
    export_peft(one, tmp_path, base("clip"))
    back = import_peft(tmp_path, base("clip"))
    assert names(back) == names(one)
    for stem in lora_stems(one):
        torch.testing.assert_close(dense(back, stem), dense(one, stem), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(embeddings("clip", back), embeddings("clip", one), atol=1e-5, rtol=1e-5)


def test_slots_on_packed_weights_come_back_too(tmp_path: Path) -> None:
    class Holder:
        name, fingerprint = "net", "none"
        model = net(FusedBlock(), PackedBlock())

    stacks = [clients(1, *BLOCKS[:3], rank=rank, scale=rank / 2, seed=rank)[0] for rank in (1, 2)]
    one = together(stacks[0], in_slot(stacks[1], "own"))
    export_peft(one, tmp_path, Holder())
    back, x, whole = import_peft(tmp_path), rows(2), model()
    binding = Binding(whole)
    with binding.wearing(leaves(expand(one, 1))):
        before = whole(x)
    with binding.wearing(leaves(expand(back, 1))):
        torch.testing.assert_close(whole(x), before, atol=1e-4, rtol=1e-5)
    assert names(back) == names(one)


def test_weights_take_up_all_slots() -> None:
    """``synoptic export --merged``: W plus the updates of every pair."""
    one, whole = with_slots("clip"), load_dual_encoder(str(clip_folder()))
    worn = embeddings("clip", one)
    merge(whole, one)
    pixels = torch.randn(3, 3, 32, 32, generator=generator(0, "pixels"))
    with torch.no_grad():
        torch.testing.assert_close(whole.image_latent(whole.image_prefix(pixels, 0), 0), worn, atol=1e-5, rtol=1e-5)
