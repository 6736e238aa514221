from __future__ import annotations

import numpy as np
import pytest

from rooms import bench, digits, play, reference, serve
from synoptic.methods.zeroshot import ZeroShot


def test_it_answers_as_the_base_does() -> None:
    on = bench(digits())
    positions = on.data.tests["base"]
    scores = on.problem.score({}, positions, "base")
    plain = reference(on.data)
    plain_logits = plain.clip(
        input_ids=plain.ids, pixel_values=on.model.pixels(on.data.test.images.load(positions))
    ).logits_per_image
    wanted = on.data.base_classes[plain_logits.argmax(1).numpy()] == on.data.test.labels[positions]
    assert np.array_equal(scores["accuracy"][0].numpy(), wanted)
    place = {int(c): i for i, c in enumerate(on.data.base_classes)}
    labels = [place[int(label)] for label in on.data.test.labels[positions]]
    nll = -plain_logits.log_softmax(1)[np.arange(len(labels)), labels]
    assert float(scores["loss"].mean()) == pytest.approx(float(nll.mean()), abs=1e-4)


def test_it_trains_nothing_and_sends_nothing() -> None:
    method = ZeroShot()
    server = play(method, serve(method, bench(digits())), 2)
    assert server.ledger.summary() == {"up": 0, "down": 0, "by_kind": {}, "evaluation": {"up": 0, "down": 0}}
    assert list(server.state) == []
    assert method.shared_model(server) is None
