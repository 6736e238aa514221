from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from answerers import ANSWERS, QUESTIONS, base, lora, odd_table, table
from helpers import randomised
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves, names, stack_of
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.data.images import EncodedImages
from synoptic.data.table import ExampleTable
from synoptic.learning.answering import AnswerLoss, AnswerRows, answer, predict, scores
from synoptic.learning.batches import Batch
from synoptic.learning.fit import fit
from synoptic.learning.spec import TrainSpec
from synoptic.models.answerer.decode import Decoding
from synoptic.models.cache import Budget

ROWS = np.arange(8)
KINDS = ("llava", "qwen2_vl", "idefics3")
"""One of each kind of code; the models' own tests go through all families."""

SPECS: dict[str, dict[str, Any]] = {
    "base": {},
    "last block": {"text": {"lora": {"layers": 1}}},
    "upper blocks": {"text": {"lora": {"layers": 2, "targets": ["q", "v", "fc2"]}}},
    "all blocks": {"text": lora()},
    "connector": {"connector": "lora"},
    "all": {"text": lora(), "connector": "lora", "vision": lora()},
}


def stack(family: str, what: str, clients: int = 3) -> dict[str, torch.Tensor]:
    if what == "base":
        return {}
    one = base(family).new_adapter(AdapterSpec.model_validate(SPECS[what]), 0)
    return leaves(stack_of([randomised(one, seed, 0.1) for seed in range(clients)]))


def rows(family: str, cached: bool = True, data: ExampleTable | None = None) -> AnswerRows:
    return AnswerRows(base(family), data or odd_table(), ROWS, Budget(2**24) if cached else None)


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("what", SPECS)
def test_what_is_cached_is_what_is_computed(family: str, what: str) -> None:
    worn = stack(family, what)
    positions = np.array([5, 0, 3, 3, 6])
    one, two = (predict(base(family), worn, rows(family, cached), positions) for cached in (True, False))
    assert one.loss.shape == (3 if worn else 1, 5)
    assert torch.allclose(one.loss, two.loss, atol=1e-4)
    assert torch.allclose(one.loss[:, 2], one.loss[:, 3]), "the same row twice"


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("what", ["upper blocks", "all"])
def test_a_base_in_bfloat16_is_close(family: str, what: str) -> None:
    worn = stack(family, what)
    half = AnswerRows(base(family, "bfloat16"), odd_table(), ROWS, Budget(2**24))
    exact, close = predict(base(family), worn, rows(family), ROWS), predict(base(family, "bfloat16"), worn, half, ROWS)
    assert close.loss.dtype == torch.float32
    assert 0 < (exact.loss - close.loss).abs().max() < 0.1 * exact.loss.max()
    said = answer(base(family, "bfloat16"), worn, half, np.tile(ROWS, (3, 1)), Decoding(tokens=4))
    assert torch.isfinite(said.log_probability).all()


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("what", ["upper blocks", "all"])
def test_stacked_equals_sequential_and_order_does_not_matter(family: str, what: str) -> None:
    model, worn, seen = base(family), stack(family, what), rows(family)
    positions = np.array([[0, 1, 2], [4, 7, 6], [3, 5, 2]])
    with torch.no_grad():
        together = scores(model, worn, seen, positions.ravel()).mean.view(3, 3)
        swapped = scores(model, worn, seen, positions[:, ::-1].ravel()).mean.view(3, 3)
        for k in range(3):
            alone = scores(model, {name: t[k : k + 1] for name, t in worn.items()}, seen, positions[k]).mean
            assert torch.allclose(together[k], alone, atol=1e-5)
    assert torch.allclose(swapped.flip(1), together, atol=1e-5)


def test_every_picture_is_looked_at_once_and_every_row_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = base("llava")
    looked: list[int] = []
    features = model.family.features
    monkeypatch.setattr(model.family, "features", lambda views: looked.append(len(views)) or features(views))
    seen = rows("llava")
    below: list[int] = []
    hook = model.decoder.text.layers[0].register_forward_pre_hook(lambda _, args: below.append(len(args[0])))
    try:
        for _ in range(3):
            predict(model, stack("llava", "upper blocks"), seen, ROWS, batch=6)
        predict(model, stack("llava", "last block"), seen, ROWS)
    finally:
        hook.remove()
    assert sum(looked) == 4, "two rows share each picture"
    assert sum(below) == 2 * 2 * 8, "answers and rejected ones, once for each depth"


def test_a_trained_image_side_sees_the_pictures_anew_but_reads_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = base("qwen2_vl"), odd_table()
    read: list[int] = []
    views = model.family.views
    monkeypatch.setattr(model.family, "views", lambda pictures: read.append(len(pictures)) or views(pictures))
    seen = rows("qwen2_vl", data=data)
    before = sum(read)
    first, second = (predict(model, stack("qwen2_vl", "all"), seen, ROWS) for _ in range(2))
    assert sum(read) - before == 4
    assert torch.equal(first.loss, second.loss)
    monkeypatch.setattr("synoptic.learning.answer_rows.PIXELS", 0)
    assert torch.equal(predict(model, stack("qwen2_vl", "all"), rows("qwen2_vl", data=data), ROWS).loss, first.loss)


def trained(clients: int = 3) -> TensorDict:
    """Adapters that have learned a table by heart for different times: client 0 not at all."""
    model, data = base("llava"), table()
    seen = AnswerRows(model, data, ROWS, Budget(2**24))
    start = expand(model.new_adapter(AdapterSpec.model_validate(SPECS["all blocks"]), 0), clients)
    plans = [[ROWS] * (1 + 20 * k) for k in range(clients)]
    return fit(start, plans, AnswerLoss(model, seen), TrainSpec(optimizer="adamw"), 0.03).stack


def test_teacher_forcing_tells_what_greedy_decoding_says() -> None:
    model, worn = base("llava"), leaves(trained())
    seen = AnswerRows(model, table(), ROWS, Budget(2**24))
    right = predict(model, worn, seen, ROWS).right
    said = answer(model, worn, seen, np.tile(ROWS, (3, 1)), Decoding(tokens=10))
    expected = seen.rows(np.tile(ROWS, 3))
    for row in range(24):
        reference = expected.ids[row, int(expected.prompt[row]) : int(expected.length[row])].tolist()
        exact = said.ids[row, 0, : int(said.length[row, 0])].tolist() == reference
        assert exact == bool(right.flatten()[row])
        if exact:
            assert said.texts[row] == [ANSWERS[row % 4]]
    assert right.any() and not right.all(), "both must occur"


def test_learning_by_heart_lowers_the_loss_of_everybody_who_trains() -> None:
    model = base("llava")
    seen = AnswerRows(model, table(), ROWS, None)
    loss = predict(model, leaves(trained()), seen, ROWS).loss.mean(1)
    assert loss[2] < loss[1] < loss[0]
    assert loss[2] < 0.5


def test_training_a_stack_is_training_one_by_one() -> None:
    model = base("llava")
    seen = AnswerRows(model, table(), ROWS, Budget(2**24))
    one = model.new_adapter(AdapterSpec.model_validate(SPECS["upper blocks"]), 0)
    start = stack_of([randomised(one, seed, 0.1) for seed in range(3)])
    plans = [[ROWS[:3], ROWS[3:5]], [ROWS[4:8]], [ROWS[2:4], ROWS[:1], ROWS[5:]]]
    loss, spec = AnswerLoss(model, seen), TrainSpec(optimizer="sgd")
    together = fit(start, plans, loss, spec, 0.1)
    for k in range(3):
        alone = fit(start[k : k + 1], plans[k : k + 1], loss, spec, 0.1)
        assert torch.allclose(together.loss[k], alone.loss[0], atol=1e-5)
        for name in names(start):
            assert torch.allclose(together.stack[name][k], alone.stack[name][0], atol=1e-5)
    assert (together.stack[names(start)[0]] - start[names(start)[0]]).abs().max() > 1e-4


def test_the_gradient_is_that_of_merged_weights_in_the_librarys_model() -> None:
    from answerers import reference, row_inputs

    model, plain = base("llava"), reference("llava")
    data = table()
    seen = AnswerRows(model, data, ROWS, Budget(2**24))
    one = randomised(model.new_adapter(AdapterSpec.model_validate(SPECS["all"]), 0), 0, 0.1)
    ours = {name: t.clone().requires_grad_(not name.endswith("scale")) for name, t in leaves(expand(one, 1)).items()}
    theirs = {name: t.clone().requires_grad_(not name.endswith("scale")) for name, t in leaves(one).items()}
    batch = Batch(np.arange(1), ROWS[None, :3], torch.ones(1, 3))
    AnswerLoss(model, seen)(ours, batch).sum().backward()
    weights = dict(plain.named_parameters())
    merged = {}
    for name in theirs:
        if name.endswith("/A"):
            stem, path = name[:-2], name[:-2].split("/lora/")[1] + ".weight"
            merged[path] = weights[path] + theirs[f"{stem}/scale"] * theirs[f"{stem}/B"] @ theirs[name]
    here, losses = seen.rows(ROWS[:3]), []
    for row, view in enumerate(model.family.views(data.images.load(ROWS[:3]))):
        ids = here.ids[row, : int(here.length[row])]
        labels = ids.clone()
        labels[: int(here.prompt[row])] = -100
        inputs = row_inputs(model, view, ids) | {"labels": labels[None]}
        losses.append(torch.func.functional_call(plain, merged, (), inputs).loss)
    torch.stack(losses).sum().backward()
    for name, tensor in theirs.items():
        if tensor.requires_grad:
            assert tensor.grad is not None and ours[name].grad is not None
            assert torch.allclose(ours[name].grad[0], tensor.grad, atol=1e-4), name


def test_preference_compares_an_answer_with_the_rejected_one() -> None:
    model, worn = base("llava"), stack("llava", "upper blocks")
    seen, plain = rows("llava"), rows("llava", data=table(rejected=False))
    found = predict(model, worn, seen, ROWS)
    swapped = odd_table()
    assert swapped.words is not None and swapped.words.rejected is not None
    words = replace(swapped.words, answers=swapped.words.rejected, rejected=swapped.words.answers)
    other = predict(model, worn, rows("llava", data=replace(swapped, words=words)), ROWS)
    assert found.preferred is not None and other.preferred is not None
    assert torch.equal(found.preferred, 1 - other.preferred)
    assert torch.equal(found.preferred, (found.loss < other.loss).float())
    assert predict(model, worn, plain, ROWS).preferred is None
    assert seen.prefers and not plain.prefers


def test_sampling_from_a_table_is_each_clients_own() -> None:
    model, worn, seen = base("llava"), stack("llava", "upper blocks"), rows("llava")
    how = Decoding(samples=2, tokens=5, temperature=1.0)
    positions = np.array([[0, 1], [2, 3], [4, 5]])
    together = answer(model, worn, seen, positions, how, [generator(0, "say", k) for k in range(3)])
    alone = answer(model, {name: t[1:2] for name, t in worn.items()}, seen, positions[1:2], how,
                   [generator(0, "say", 1)])  # fmt: skip
    assert together.texts[2:4] == alone.texts
    assert np.shape(together.texts) == (6, 2)


def changed(data: ExampleTable, row: int, **words: str) -> ExampleTable:
    assert data.words is not None
    new = {key: tuple(text if place == row else old for place, old in enumerate(getattr(data.words, key)))
           for key, text in words.items()}  # fmt: skip
    return replace(data, words=replace(data.words, **new))


@pytest.mark.parametrize(
    ("words", "message"),
    [({"answers": " "}, "row 3 of asked has an empty answer; give one or leave it out"),
     ({"questions": ""}, "row 3 of asked has an empty question; ask something"),
     ({"questions": "is <image> red ?"}, "question of row 3 of asked contains <image>, which stands for its picture"),
     ({"answers": "a <image>"}, "the answer of row 3 of asked contains <image>; take it out"),
     ({"rejected": " "}, "row 3 of asked has an empty answer"),
     ({"answers": "red " * 90}, r"row 3 of asked has \d+ tokens of prompt and 91 of answer, more than the 96 the"),
     ({"questions": "red " * 90}, r"row 3 of asked has \d+ tokens of prompt and \d of answer, more than the 96")],
)  # fmt: skip
def test_words_that_cannot_be_learned_name_their_row(words: dict[str, str], message: str) -> None:
    with pytest.raises(SynopticError, match=message):
        rows("llava", data=changed(table(), 3, **words))


def test_tables_and_pictures_that_cannot_be_answered() -> None:
    with pytest.raises(
        SynopticError, match=r"asked asks no questions, and .* answers questions; use data with questions"
    ):
        AnswerRows(base("llava"), replace(table(), words=None), ROWS, None)
    with pytest.raises(SynopticError, match="example 7 is outside the rows of asked"):
        AnswerRows(base("llava"), table(), ROWS[:4], None).rows(np.array([7]))
    broken = replace(table(), images=EncodedImages([b"no picture"] * 8, "the pictures"))
    with pytest.raises(SynopticError, match="row 0 of the pictures is not a readable image"):
        predict(base("llava"), {}, AnswerRows(base("llava"), broken, ROWS, None), ROWS)


def test_rows_need_not_be_in_the_tables_order() -> None:
    model, worn = base("llava"), stack("llava", "upper blocks")
    order = np.array([6, 1, 4])
    some = AnswerRows(model, table(), order, Budget(2**24), np.array([0, 2]))
    expected = predict(model, worn, rows("llava", data=table()), order).loss
    assert torch.allclose(predict(model, worn, some, order).loss, expected, atol=1e-5)
    assert [QUESTIONS[place % 4] for place in order] == [table().words.questions[place] for place in order]  # type: ignore[union-attr]
