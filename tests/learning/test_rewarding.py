from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from answerers import reference, row_inputs
from helpers import randomised
from rewards import KINDS, LORA, ROWS, base, reward_stack, scorer, table
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves, names
from synoptic.core import SynopticError
from synoptic.learning.answer_rows import AnswerRows
from synoptic.learning.answering import scores as answer_scores
from synoptic.learning.batches import Batch
from synoptic.learning.fit import fit
from synoptic.learning.objectives.preference import bradley_terry, calibration, normalised
from synoptic.learning.rewarding import PreferenceLoss, RewardSpec, Scorer, Trained, calibrated
from synoptic.learning.spec import TrainSpec
from synoptic.models.scalar_head import HEAD

ADAPTERS: dict[str, Any] = {
    "head alone": {}, "last block": LORA, "every tower": {"text": {"lora": {"layers": "all"}}, "vision": "lora"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ADAPTERS)
def test_what_is_cached_is_what_is_computed(kind: str, what: str) -> None:
    positions = np.array([5, 0, 3, 3, 6])
    worn = leaves(reward_stack(scorer(kind), ADAPTERS[what]))
    one, two = (torch.stack(scorer(kind, cached).pairs(worn, positions)) for cached in (True, False))
    assert one.shape == (2, 3, 5)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
    assert torch.allclose(one[..., 2], one[..., 3], atol=1e-5), "the same row twice"
    assert (one[0] - one[1]).abs().min() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ADAPTERS)
@pytest.mark.parametrize("hidden", [0, 5])
def test_stacked_is_one_by_one_and_a_pair_is_two_texts(kind: str, what: str, hidden: int) -> None:
    of = scorer(kind, hidden=hidden)
    stack = reward_stack(of, ADAPTERS[what])
    preferred, rejected = of.pairs(leaves(stack), ROWS)
    words = table().words
    assert words is not None and words.rejected is not None
    texts = list(zip(words.answers, words.rejected, strict=True))
    together = of.scores(leaves(stack), ROWS, texts)
    assert together.shape == (3, 8, 2)
    torch.testing.assert_close(together, torch.stack([preferred, rejected], -1), rtol=0, atol=1e-4)
    for k in range(3):
        torch.testing.assert_close(Trained(of, stack[k]).score(ROWS, texts), together[k], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_order_never_matter(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of = scorer(kind)
    mine = Trained(of, reward_stack(of)[1])
    texts = [["red", f"a {word}", "", "no ."] for word in ("red circle", "star", "blue", "square in the corner")]
    whole = mine.score(ROWS[:4], texts)
    swapped = mine.score(ROWS[:4][::-1].copy(), texts[::-1])
    torch.testing.assert_close(swapped.flip(0), whole, rtol=0, atol=1e-5)
    monkeypatch.setattr("synoptic.learning.rewarding.ROWS", 3)
    torch.testing.assert_close(mine.score(ROWS[:4], texts), whole, rtol=0, atol=1e-5)
    assert mine.score(ROWS[:0], []).shape == (0, 0)
    assert mine.score(ROWS[:2], [[], []]).shape == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ADAPTERS)
def test_an_untrained_model_is_a_constant(kind: str, what: str) -> None:
    of = scorer(kind)
    fresh = of.new_adapter(AdapterSpec.model_validate(ADAPTERS[what]), 0)
    preferred, rejected = of.pairs(leaves(expand(fresh, 2)), ROWS)
    assert preferred.abs().max() == rejected.abs().max() == 0
    assert of.scores({}, ROWS[:1], [["red", "blue"]]).tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize("likelihood", [True, False])
def test_over_a_generative_base_it_is_the_librarys_hidden_state_at_the_end_token(likelihood: bool) -> None:
    of, plain, model = scorer("answerer", likelihood=likelihood), reference("llava"), base("answerer")
    one = randomised(of.new_adapter(AdapterSpec.model_validate(LORA), 0), 0)
    found, _ = of.pairs(leaves(expand(one, 1)), ROWS)
    weights, merged = dict(plain.named_parameters()), {}
    for name in names(one):
        if name.endswith("/A"):
            stem, path = name[:-2], name[:-2].split("/lora/")[1] + ".weight"
            merged[path] = weights[path] + one[f"{stem}/scale"] * one[f"{stem}/B"] @ one[name]
    rows = AnswerRows(model, table(), ROWS, None)
    here = rows.rows(ROWS)
    for row, view in enumerate(model.family.views(table().images.load(ROWS))):
        ids, prompt = here.ids[row, : int(here.length[row])], int(here.prompt[row])
        inputs = row_inputs(model, view, ids) | {"output_hidden_states": True}
        out = torch.func.functional_call(plain, merged, (), inputs)
        # The library's last hidden state is normed already.
        features = out.hidden_states[-1][0, -1]
        if likelihood:
            told = F.log_softmax(out.logits[0, prompt - 1 : -1], -1).gather(1, ids[prompt:, None]).mean()
            features = torch.cat([features, told[None] * len(features) ** 0.5])
        torch.testing.assert_close(found[0, row], features @ one[HEAD], rtol=0, atol=1e-3)


def test_over_a_dual_encoder_it_is_what_both_embeddings_and_their_product_say() -> None:
    of, model = scorer("encoder", heard="both"), base("encoder")
    stack = reward_stack(of, {})
    pixels, words = model.pixels(table().images.load(ROWS)), table().words
    assert words is not None
    picture = F.normalize(model.image_prefix(pixels, "ready"), dim=-1)
    for row in range(8):
        tokens = model.tokenize([f"{words.answers[row]} {words.questions[row]}"])
        text = F.normalize(model.text_prefix(tokens, "ready")[0], dim=-1)
        size = len(text) ** 0.5
        features = torch.cat([size * picture[row], size * text, size**2 * picture[row] * text])
        torch.testing.assert_close(of.pairs(leaves(stack), ROWS)[0][:, row], stack[HEAD] @ features, rtol=0, atol=1e-3)
    alone = Scorer(model, table(), ROWS, RewardSpec(heard="answer"))
    same = [ROWS[i] for i in (0, 4)]  # One question and answer about two pictures, and the other way round:
    assert words.answers[0] == words.answers[4]
    found = alone.scores(leaves(stack), np.array(same), [["red"], ["red"]])
    assert (found[:, 0] - found[:, 1]).abs().min() > 0, "the picture is seen"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ADAPTERS)
def test_training_a_stack_is_training_one_by_one(kind: str, what: str) -> None:
    of = scorer(kind)
    start = reward_stack(of, ADAPTERS[what], size=0.1)
    plans = [[ROWS[:3], ROWS[3:5]], [ROWS[4:8]], [ROWS[2:4], ROWS[:1], ROWS[5:]]]
    loss, spec = PreferenceLoss(of), TrainSpec(optimizer="sgd", clip_norm=1.0)
    together = fit(start, plans, loss, spec, 0.05)
    moved = {name.split("/")[0] for name in names(start) if (together.stack[name] - start[name]).abs().max() > 1e-6}
    assert moved == {"reward", *ADAPTERS[what]}
    for k in range(3):
        alone = fit(start[k : k + 1], plans[k : k + 1], loss, spec, 0.05)
        assert torch.allclose(together.loss[k], alone.loss[0], atol=1e-4)
        for name in names(start):
            assert torch.allclose(together.stack[name][k], alone.stack[name][0], atol=1e-4), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_bradley_terry_of_the_scores(kind: str) -> None:
    of = scorer(kind, centring=0.3)
    worn = leaves(reward_stack(of))
    batch = Batch(np.arange(3), np.tile(ROWS[:4], (3, 1)), torch.ones(3, 4))
    expected = bradley_terry(*of.pairs(worn, ROWS[:4]), 0.3)
    torch.testing.assert_close(PreferenceLoss(of)(worn, batch), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_pairs_by_heart_and_orders_new_texts_by_them(kind: str) -> None:
    of = scorer(kind)
    start = expand(of.new_adapter(AdapterSpec.model_validate(LORA), 0), 1)
    trained = fit(start, [[ROWS] * 60], PreferenceLoss(of), TrainSpec(), 0.03)
    mine = Trained(of, trained.stack[0])
    known = calibrated(mine, ROWS, table())
    assert known.accuracy.item() == 1.0
    words = table().words
    assert words is not None and words.rejected is not None
    raw = mine.score(ROWS, [[a, r, ""] for a, r in zip(words.answers, words.rejected, strict=True)])
    ours = normalised(raw, known)
    assert bool((ours[:, 0] > ours[:, 1]).all())
    expected = calibration(raw[:, 0], raw[:, 1])
    torch.testing.assert_close(known.mean, expected.mean)


def test_a_policys_own_words_may_be_empty_too_long_or_hold_the_pictures_token() -> None:
    of = scorer("answerer")
    mine = Trained(of, reward_stack(of)[0])
    (found,) = mine.score(ROWS[:1], [["", "<image> red", "red " * 500, "red"]])
    assert torch.isfinite(found).all()
    assert len(set(found.tolist())) == 4


def test_rows_with_different_numbers_of_texts_are_refused() -> None:
    of = scorer("encoder")
    with pytest.raises(SynopticError, match=r"^2 rows were given 2 groups of \[1, 2\] texts; give every row the same"):
        of.scores({}, ROWS[:2], [["red"], ["red", "blue"]])
    with pytest.raises(SynopticError, match="2 rows were given 1 groups"):
        of.scores({}, ROWS[:2], [["red"]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_rejected_answers_can_be_scored_but_not_learned(kind: str) -> None:
    words = table().words
    assert words is not None
    plain = replace(table(), words=replace(words, rejected=None))
    of = Scorer(base(kind), plain, ROWS, RewardSpec())
    stack = reward_stack(of)
    assert of.scores(leaves(stack), ROWS[:1], [["red", "blue"]]).shape == (3, 1, 2)
    for call in (lambda: of.pairs(leaves(stack), ROWS), lambda: calibrated(Trained(of, stack[0]), ROWS, plain)):
        with pytest.raises(SynopticError, match=r"^asked has no rejected answers"):
            call()


def test_a_text_prompt_is_refused() -> None:
    with pytest.raises(SynopticError, match=r"text prompts are for class names; set adapter.text to lora"):
        scorer("encoder").new_adapter(AdapterSpec.model_validate({"text": "prompt"}), 0)


def test_what_the_likelihood_says_is_what_answering_says() -> None:
    of = scorer("answerer")
    only = {HEAD: torch.eye(33)[-1:]}
    told = answer_scores(base("answerer"), {}, AnswerRows(base("answerer"), table(), ROWS, None), ROWS).mean
    torch.testing.assert_close(of.pairs(only, ROWS)[0][0], told * 32**0.5, rtol=0, atol=1e-4)
