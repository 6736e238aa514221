from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from answerers import FAMILIES, base, lora, mixed_rows, reference, row_inputs
from helpers import randomised
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import stack_of
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoded, Decoding, KeyValues, choose, decode

SAMPLED = Decoding(samples=3, tokens=6, temperature=1.5, top_p=0.9)


def said(model: Answerer, worn: Any, order: list[int], how: Decoding, generators: Any = None) -> Decoded:
    views, rows = mixed_rows(model)
    rows = rows.take(torch.tensor(order)).prompts()
    with torch.no_grad(), model.wearing(worn):
        hidden = model.embed(rows, model.features([views[place] for place in order]))
        return decode(model, hidden, rows, how, generators)


def adapters(model: Answerer) -> Any:
    one = model.new_adapter(AdapterSpec.model_validate({"text": lora(), "vision": lora()}), 0)
    return stack_of([randomised(one, seed, 0.1) for seed in range(2)])


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_what_the_library_generates(family: str) -> None:
    model, plain = base(family), reference(family)
    views, rows = mixed_rows(model)
    ours = said(model, {}, [0, 1, 2, 3], Decoding(samples=2, tokens=12))
    for row, view in enumerate(views):
        prompt = rows.ids[row, : int(rows.prompt[row])]
        theirs = plain.generate(**row_inputs(model, view, prompt), do_sample=False, max_new_tokens=12)[0, len(prompt) :]
        for sample in range(2):
            assert ours.ids[row, sample, : int(ours.length[row, sample])].tolist() == theirs.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_do_not_depend_on_who_else_is_in_the_batch(family: str) -> None:
    model = base(family)
    stack = adapters(model)
    streams = [generator(0, "client", k) for k in range(2)]
    together = said(model, stack, [0, 1, 2, 3], SAMPLED, streams)
    for k in range(2):
        alone = said(model, stack[k : k + 1], [2 * k, 2 * k + 1], SAMPLED, [generator(0, "client", k)])
        assert together.texts[2 * k : 2 * k + 2] == alone.texts
        steps = alone.log_probability.shape[-1]
        here = together.log_probability[2 * k : 2 * k + 2]
        assert torch.allclose(here[..., :steps], alone.log_probability, atol=1e-4)
        assert not here[..., steps:].any()
    assert len({text for texts in together.texts for text in texts}) > 4, "samples must differ"


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_teacher_forcing(family: str) -> None:
    model = base(family)
    stack = adapters(model)
    found = said(model, stack, [0, 1, 2, 3], SAMPLED, [generator(1, "client", k) for k in range(2)])
    views, rows = mixed_rows(model)
    for sample in range(3):
        said_here = [found.ids[row, sample, : int(found.length[row, sample])] for row in range(4)]
        forced = [torch.cat([rows.ids[row, : int(rows.prompt[row])], said_here[row]]) for row in range(4)]
        ids = torch.nn.utils.rnn.pad_sequence(forced, batch_first=True)
        length = torch.tensor([len(row) for row in forced])
        again = type(rows)(ids, rows.prompt, length, rows.first, rows.grids)
        with torch.no_grad(), model.wearing(stack):
            scores = model.scores(model.embed(again, model.features(views)), again, 0)
        width = scores.log_probability.shape[1]
        assert torch.allclose(found.log_probability[:, sample, :width], scores.log_probability, atol=1e-4)


def test_an_answer_ends_at_any_end_token() -> None:
    model = base()
    before = model.ends
    whole = said(model, {}, [0, 1, 2, 3], Decoding(tokens=12))
    stop = int(whole.ids[0, 0, 2])
    model.ends = torch.tensor([model.end, stop])
    try:
        cut = said(model, {}, [0, 1, 2, 3], Decoding(tokens=12))
    finally:
        model.ends = before
    length = whole.ids[0, 0].tolist().index(stop) + 1
    assert int(cut.length[0, 0]) == length
    assert cut.ids[0, 0, :length].tolist() == whole.ids[0, 0, :length].tolist()
    assert (cut.ids[0, 0, length:] == model.end).all()
    assert not cut.log_probability[0, 0, length:].any()


def test_a_prompt_is_read_once_whatever_the_size_of_the_group() -> None:
    model = base()
    seen = []
    hook = model.decoder.text.layers[0].register_forward_pre_hook(lambda _, args, kwargs: seen.append(args[0].shape),
                                                                  with_kwargs=True)  # fmt: skip
    try:
        said(model, {}, [0, 1], SAMPLED, [generator(0, "client")])
    finally:
        hook.remove()
    longest = int(mixed_rows(model)[1].take(torch.tensor([0, 1])).prompt.max())
    assert seen[0] == (2, longest, 32)
    assert set(seen[1:]) == {(2, 3, 32)}


def test_keys_and_values_are_kept_in_order() -> None:
    cache = KeyValues(5)
    first, second = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 2, 4)
    cache.update(first, -first, 0)
    keys, values = cache.update(second, -second, 0)
    assert torch.equal(keys, torch.cat([first, second], 2))
    assert torch.equal(values, -keys)
    assert torch.equal(cache.update(second, second, 1)[0], second), "blocks are apart"


@given(
    logits=st.lists(st.floats(-4, 4), min_size=2, max_size=8), temperature=st.floats(0.2, 3), top_p=st.floats(0.05, 1)
)  # fmt: skip
def test_choosing_inverts_the_nucleus(logits: list[float], temperature: float, top_p: float) -> None:
    draws = 2000
    how = Decoding(temperature=temperature, top_p=top_p)
    uniform = (torch.arange(draws) + 0.5) / draws
    chosen = choose(torch.tensor(logits).expand(draws, -1), how, uniform)
    share = torch.bincount(chosen, minlength=len(logits)) / draws
    p = (torch.tensor(logits) / temperature).softmax(0)
    order = p.argsort(descending=True, stable=True)
    kept = order[(p[order].cumsum(0) - p[order]) < top_p]
    nucleus = torch.zeros_like(p)
    nucleus[kept] = p[kept]
    assert torch.allclose(share, nucleus / nucleus.sum(), atol=1.5 / draws * len(logits))


def test_temperature_zero_takes_the_likeliest_and_ties_are_first() -> None:
    assert choose(torch.tensor([[0.0, 2.0, 2.0]]), Decoding(), None).tolist() == [1]


def test_what_cannot_be_decoded() -> None:
    with pytest.raises(SynopticError, match="to be sampled without a generator; give one for each client"):
        said(base(), {}, [0], SAMPLED)
    with pytest.raises(SynopticError, match=r"a prompt of \d+ tokens leaves no room for 90 more in the 96"):
        said(base(), {}, [0], Decoding(tokens=90))
