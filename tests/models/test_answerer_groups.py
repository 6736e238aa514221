from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from answerers import FAMILIES, WORDS, base, lora, mixed_rows
from helpers import randomised
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves, stack_of
from synoptic.core.seeds import generator
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoded, Decoding, decode
from synoptic.models.answerer.groups import embed_group, group_scores, mask_of, places
from synoptic.models.answerer.prompts import Sequences

HOW = Decoding(samples=3, tokens=6, temperature=1.5, top_p=0.95)
ALL = [0, 1, 2, 3]
PICTURES = {"text": lora(), "vision": lora()}


def adapters(model: Answerer, spec: Any = PICTURES, clients: int = 2) -> dict[str, Tensor]:
    one = model.new_adapter(AdapterSpec.model_validate(spec), 0)
    return leaves(stack_of([randomised(one, seed, 0.1) for seed in range(clients)]))


def drawn(model: Answerer, worn: Any, keep: int | None = None, how: Decoding = HOW) -> Decoded:
    views, rows = mixed_rows(model)
    with torch.no_grad(), model.wearing(worn):
        hidden = model.embed(rows.prompts(), model.features(views))
        streams = [generator(0, "client", k) for k in range(max((len(t) for t in worn.values()), default=1))]
        return decode(model, hidden, rows.prompts(), how, streams, keep)


def together(
    model: Answerer, worn: Any, ids_NGT: Tensor, length_NG: Tensor, order: list[int] = ALL, **more: Any
) -> Tensor:
    """Log-probabilities of groups, from block 0."""
    views, rows = mixed_rows(model)
    rows = rows.take(torch.tensor(order)).prompts()
    with model.wearing(worn):
        hidden = model.embed(rows, model.features([views[place] for place in order]))
        hidden = embed_group(model, hidden, ids_NGT[order])
        return group_scores(model, hidden, rows, ids_NGT[order], length_NG[order], 0, **more)


def forced(model: Answerer, worn: Any, ids_NT: Tensor, length_N: Tensor) -> Tensor:
    """The same of one answer to each prompt, behind a prompt of its own."""
    views, rows = mixed_rows(model)
    whole = [torch.cat([rows.ids[n, : int(rows.prompt[n])], ids_NT[n, : int(length_N[n])]]) for n in range(4)]
    ids = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True)
    again = Sequences(ids, rows.prompt, torch.tensor([len(row) for row in whole]), rows.first, rows.grids)
    with model.wearing(worn):
        return model.scores(model.embed(again, model.features(views)), again, 0).log_probability


def made_up(seed: int, prompts: int = 4, group: int = 3, tokens: int = 6) -> tuple[Tensor, Tensor]:
    """Any tokens, the picture's among them, and answers of one token up to all."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(len(WORDS), (prompts, group, tokens), generator=rng)
    length = torch.randint(1, tokens + 1, (prompts, group), generator=rng)
    length[0, :2] = torch.tensor([1, tokens])
    return ids, length


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_is_scored_as_its_answers_are_alone(family: str) -> None:
    model = base(family)
    ours, theirs = ({name: t.clone().requires_grad_(not name.endswith("scale")) for name, t in adapters(model).items()}
                    for _ in range(2))  # fmt: skip
    ids, length = made_up(0)
    found = together(model, ours, ids, length)
    assert found.shape == (4, 3, 6)
    alone = [forced(model, theirs, ids[:, g], length[:, g]) for g in range(3)]
    for g, expected in enumerate(alone):
        assert torch.allclose(found[:, g, : expected.shape[1]], expected, atol=1e-5)
        assert not found[:, g, expected.shape[1] :].any()
    found.sum().backward()
    torch.stack([expected.sum() for expected in alone]).sum().backward()
    for name, tensor in theirs.items():
        if tensor.requires_grad:
            assert tensor.grad is not None and ours[name].grad is not None
            scale = float(tensor.grad.abs().max())
            assert scale > 0 or name.startswith("vision")
            assert torch.allclose(ours[name].grad, tensor.grad, atol=2e-5 * max(1.0, scale)), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_prompts_and_of_answers_goes_through(family: str) -> None:
    model, (ids, length) = base(family), made_up(1)
    with torch.no_grad():
        found = together(model, {}, ids, length)
        order, members = [2, 0, 3, 1], [1, 2, 0]
        assert torch.allclose(together(model, {}, ids, length, order), found[order], atol=1e-5)
        swapped = together(model, {}, ids[:, members], length[:, members])
        assert torch.allclose(swapped, found[:, members], atol=1e-5)
        assert torch.allclose(together(model, {}, ids, length, [3]), found[[3]], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_decoding_keeps_needs_no_second_look(family: str, depth: int) -> None:
    model = base(family)
    worn = adapters(model, {"text": {"lora": {"layers": 3 - depth}}})
    said = drawn(model, worn, depth)
    assert said.hidden is not None
    prompts = mixed_rows(model)[1].prompts()
    with torch.no_grad(), model.wearing(worn):
        found = group_scores(model, said.hidden, prompts, said.ids, said.length, depth, HOW.temperature)
    assert torch.allclose(found, said.drawn_log_probability, atol=1e-5)
    assert said.texts == drawn(model, worn).texts


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_divides_logits(temperature: float) -> None:
    model = base()
    said = drawn(model, {}, how=Decoding(samples=3, tokens=5, temperature=temperature))
    with torch.no_grad():
        found = together(model, {}, said.ids, said.length, temperature=temperature)
        plain = together(model, {}, said.ids, said.length)
    assert torch.allclose(found, said.drawn_log_probability, atol=1e-5)
    assert torch.allclose(plain, said.log_probability, atol=1e-5)
    assert torch.allclose(found, plain) == (temperature == 1)


@given(st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(0, 2))
def test_every_token_that_predicts_has_one_place_and_no_other_has(lengths: list[list[int]], spare: int) -> None:
    length = torch.tensor(lengths)
    steps = int(length.max()) + spare
    behind = places(length, steps)
    for row, group in enumerate(lengths):
        needed = [t * 3 + g for t in range(steps - 1) for g in range(3) if t + 1 < group[g]]
        assert behind.slot[row][behind.filled[row]].tolist() == needed
        assert [int(behind.of[row, number]) for number in needed] == list(range(len(needed)))
    assert behind.filled.shape[1] == max(sum(one - 1 for one in group) for group in lengths)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=2, max_size=2)), min_size=1, max_size=3)
)
def test_each_token_sees_its_prompt_and_its_own_answer(rows: list[tuple[int, list[int]]]) -> None:
    length = torch.tensor([lengths for _, lengths in rows])
    behind, longest = places(length, int(length.max())), 5
    mask = mask_of(torch.tensor([prompt for prompt, _ in rows]), longest, behind)
    assert mask.any(-1).all(), "a token that sees nothing is not a number"
    for row, (prompt, _) in enumerate(rows):
        who = [(g, t) for t in range(3) for g in range(2) if t + 1 < int(length[row, g])]
        for one, (g, t) in enumerate(who):
            seen = mask[row, 0, longest + one]
            assert seen[:longest].tolist() == [place < prompt for place in range(longest)]
            assert seen[longest:].nonzero().flatten().tolist() == [
                two for two, (other, when) in enumerate(who) if other == g and when <= t
            ]
        assert torch.equal(mask[row, 0, :prompt, :prompt], torch.ones(prompt, prompt).tril().bool())


def test_a_prompt_is_computed_once_and_short_answers_take_little_room() -> None:
    model, (ids, _) = base(), made_up(2, group=8, tokens=20)
    length = torch.full((4, 8), 2)
    length[:, 0] = 20
    seen: list[tuple[int, ...]] = []
    hook = model.decoder.text.layers[0].register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    try:
        with torch.no_grad():
            together(model, {}, ids, length)
    finally:
        hook.remove()
    longest = int(mixed_rows(model)[1].prompt.max())
    assert seen == [(4, longest + 19 + 7, 32)]


def test_no_tensor_holds_the_logits_of_all_tokens() -> None:
    model, sizes = base(), []

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            found = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (found if isinstance(found, tuple | list) else [found])
                         if isinstance(t, Tensor) and t.ndim and t.shape[-1] == len(WORDS))  # fmt: skip
            return found

    ids, _ = made_up(3, group=8, tokens=12)
    worn = {name: tensor.requires_grad_() for name, tensor in adapters(model).items()}
    with Seen():
        together(model, worn, ids, torch.full((4, 8), 12), logits=40 * len(WORDS)).sum().backward()
    assert max(sizes) == 40 * len(WORDS) < 4 * 8 * 12 * len(WORDS)


def test_answers_of_one_token_take_no_room_at_all() -> None:
    model, (ids, _) = base(), made_up(4)
    one = torch.ones(4, 3, dtype=torch.long)
    with torch.no_grad():
        found = together(model, {}, ids[..., :1], one)
        wide = together(model, {}, ids, one)
        first = forced(model, {}, ids[:, 0], one[:, 0])
    assert torch.allclose(found[:, 0], first, atol=1e-5)
    assert torch.allclose(wide[..., :1], found, atol=1e-5)


def test_a_whole_distribution_is_drawn_from_without_sorting_it() -> None:
    from synoptic.models.answerer.decode import choose

    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    draw = (torch.arange(4000) + 0.5) / 4000
    found = choose(logits.expand(4000, -1), Decoding(temperature=0.7), draw)
    assert found.tolist() == sorted(found.tolist()), "the draw runs through the vocabulary in its order"
    share = torch.bincount(found, minlength=4) / 4000
    assert torch.allclose(share, (logits / 0.7).softmax(0), atol=1e-3)
    edge = choose(logits.expand(2, -1), Decoding(temperature=0.7), torch.tensor([0.0, 1.0]))
    assert edge.tolist() == [0, 3]
