from __future__ import annotations

import numpy as np
import pytest
import torch

import answerers
from asking import asking_bench, questions
from helpers import randomised
from rooms import bench, digits, model
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.data.federated import build
from synoptic.data.spec import DataSpec
from synoptic.learning.answering import answer, predict, utility
from synoptic.learning.batches import Batch
from synoptic.learning.problem import check_suited


def test_classes_are_scored_on_training_rows_as_the_loss_is() -> None:
    on = bench(digits())
    positions = on.data.clients.train(0)
    stack = expand(randomised(on.new_adapter(), 0), 1)
    scores = on.problem.score(stack, positions, "local", part="train")
    batch = Batch(np.array([0]), positions[None], torch.ones(1, len(positions)))
    torch.testing.assert_close(scores["loss"], on.problem.loss()(leaves(stack), batch), rtol=0, atol=1e-5)
    logits = on.classifier.predict(leaves(stack), on.train_rows, positions, on.data.base_classes)
    right = on.data.base_classes[logits[0].argmax(1).numpy()] == on.data.train.labels[positions]
    assert scores["accuracy"][0].bool().tolist() == right.tolist()


@pytest.mark.parametrize("part", ["train", "test"])
def test_answers_are_scored_as_they_are_predicted(part: str) -> None:
    on = asking_bench(questions())
    rows = {"train": on.problem.train_rows, "test": on.problem.test_rows}[part]
    positions = np.array([5, 0, 3])
    stack = expand(randomised(on.new_adapter(), 0), 2)
    scores = on.problem.score(stack, positions, "global", part=part)
    expected = predict(on.model, leaves(stack), rows, positions)
    assert on.problem.quantities == tuple(scores) == ("accuracy", "loss")
    assert scores["accuracy"].shape == (2, 3)
    torch.testing.assert_close(scores["loss"], expected.loss, rtol=0, atol=0)
    torch.testing.assert_close(scores["accuracy"], expected.right, rtol=0, atol=0)


def test_the_loss_of_answers_is_what_scores_say() -> None:
    on = asking_bench(questions())
    positions = on.data.clients.train(1)[:4]
    stack = expand(randomised(on.new_adapter(), 1), 1)
    batch = Batch(np.array([0]), positions[None], torch.ones(1, len(positions)))
    loss = on.problem.loss()(leaves(stack), batch)
    torch.testing.assert_close(loss, on.problem.score(stack, positions, "local", "train")["loss"], rtol=0, atol=1e-5)


def test_rows_of_several_splits_are_scored_as_each_split_alone() -> None:
    splits = {"global": np.arange(24), "domain/group-1": np.arange(8, 16), "odd": np.array([23, 2])}
    for on in (asking_bench(questions()), bench(digits())):
        some = splits if on.model is answerers.base() else on.data.tests
        stack = expand(randomised(on.new_adapter(), 2), 2)
        found = on.problem.score_all(stack, some)
        assert list(found) == list(some)
        for split, positions in some.items():
            alone = on.problem.score(stack, positions, split)
            for name, values in alone.items():
                torch.testing.assert_close(found[split][name], values, rtol=0, atol=1e-4)


def test_rejected_answers_make_a_preference() -> None:
    on = asking_bench(questions(rejected=True))
    assert on.problem.quantities == ("accuracy", "loss", "preference")
    preferred = on.problem.score({}, np.arange(6), "global")["preference"]
    assert preferred.shape == (1, 6)
    assert set(preferred.flatten().tolist()) <= {0.0, 1.0}


def test_true_utility_is_measured_of_what_is_said() -> None:
    how = {"train": 12, "test": 6, "tastes": 180}
    data = build(DataSpec.model_validate({"source": "questions", "clients": 2, "questions": how}), 0)
    on = asking_bench(data)
    assert on.problem.quantities == ("accuracy", "loss", "preference", "utility")
    stack = expand(randomised(on.new_adapter(), 0), 2)
    for part, table, rows in (("test", data.test, on.problem.test_rows), ("train", data.train, on.problem.train_rows)):
        positions = np.array([5, 0, 3])
        found = on.problem.score(stack, positions, "global", part=part)["utility"]
        assert (found.shape, found.dtype) == ((2, 3), torch.float32)
        said = answer(on.model, leaves(stack), rows, np.tile(positions, (2, 1)))
        for client in range(2):
            texts = [text for (text,) in said.texts[3 * client : 3 * client + 3]]
            expected = torch.from_numpy(table.words.gold.utility(positions, texts)).float()
            torch.testing.assert_close(found[client], expected, rtol=0, atol=0)
    in_batches = utility(on.model, leaves(stack), on.problem.test_rows, np.arange(8), batch=6)
    torch.testing.assert_close(in_batches, on.problem.score(stack, np.arange(8), "global")["utility"], rtol=0, atol=0)


def test_nobody_knows_what_other_answers_are_worth() -> None:
    on = asking_bench(questions())
    with pytest.raises(
        SynopticError, match="nobody knows what answers to questions/test are worth; use data=questions"
    ):
        utility(on.model, {}, on.problem.test_rows, np.arange(2))


def test_questions_are_not_for_a_dual_encoder_and_classes_not_for_an_answerer() -> None:
    with pytest.raises(SynopticError, match=r"^tiny-clip tells classes apart, and questions/train asks questions; set"):
        check_suited(model(), questions())
    with pytest.raises(SynopticError, match=r"answers questions, and digits/train has classes and no questions; set"):
        check_suited(answerers.base(), digits())
