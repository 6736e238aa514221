from __future__ import annotations

import pytest
import torch

from helpers import randomised
from rooms import BOTH, bench, digits, reference, world
from synoptic.adapters.stack import expand, leaves, select
from synoptic.core.seeds import generator
from synoptic.learning.alignment import AlignmentLoss
from synoptic.learning.batches import zip_steps
from synoptic.learning.objectives.drift import drift

(BATCH,) = zip_steps([[torch.arange(5).numpy()]])


def text(size: float = 0.1) -> tuple[object, object]:
    on = bench(digits(), BOTH)
    return on, select(randomised(on.new_adapter(), 0, size), "text/*")


def test_it_is_cross_entropy_of_the_embeddings_against_the_tuned_names_of_hugging_face() -> None:
    on, one = text()
    rows = on.data.clients.train(0)[:5]
    classes = on.data.base_classes
    images, _ = on.classifier.pair({}, on.train_rows, rows[None], classes)
    problem = on.classifier.loss(on.train_rows, on.data.train.labels, classes)
    loss = AlignmentLoss(on.classifier, classes, 7 * images[0], problem.targets(rows))
    ours = BATCH.mean(loss(leaves(expand(one, 1)), BATCH))
    # The length of what is sent does not matter: 7 * images is normalised.
    assert float(ours) == pytest.approx(float(reference(on.data).loss(leaves(one), rows)), abs=1e-4)


def test_only_names_get_a_gradient() -> None:
    on, one = text()
    images = torch.randn(5, on.model.dim, generator=generator(0, "images")).requires_grad_()
    loss = AlignmentLoss(on.classifier, on.data.base_classes, images.detach(), torch.arange(5))
    theta = {name: tensor.clone().requires_grad_() for name, tensor in leaves(expand(one, 1)).items()}
    loss(theta, BATCH).sum().backward()
    moved = [name for name, tensor in theta.items() if tensor.grad is not None and float(tensor.grad.abs().max()) > 0]
    assert moved
    assert all(name.startswith("text/") for name in moved)


def test_the_guard_adds_the_drift_of_its_sentences_to_every_row() -> None:
    on = bench(world(), BOTH)
    one = select(randomised(on.new_adapter(), 0, 0.2), "text/*")
    words = ("a photo of a house .", "a photo of a star .")
    given = (on.classifier, on.data.base_classes, torch.randn(5, on.model.dim, generator=generator(0, "i")))
    labels, worn = torch.zeros(5, dtype=torch.long), leaves(expand(one, 1))
    free = AlignmentLoss(*given, labels)(worn, BATCH)
    guarded = AlignmentLoss(*given, labels, words, 0.3)(worn, BATCH)
    with on.model.wearing(worn):
        tuned = on.classifier.sentences(worn, words, 1)
    apart = drift(tuned, on.classifier.sentences({}, words, 1)[0])
    assert float(apart) > 1e-3
    torch.testing.assert_close(guarded - free, (0.3 * apart).expand(1, 5), rtol=0, atol=1e-5)
