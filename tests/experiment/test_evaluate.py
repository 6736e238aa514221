from __future__ import annotations

import numpy as np
import pytest
import torch

from rooms import bench, digits, model, play, pooled, serve, world
from synoptic.adapters.stack import expand, leaves
from synoptic.experiment.evaluate import evaluate
from synoptic.federation.bench import Bench
from synoptic.learning.problem import candidates
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.local import Local
from synoptic.methods.zeroshot import ZeroShot


def plain_right(on: Bench, positions: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Which test examples the untouched base gets right: cosine with each prompt, no Synoptic code in between."""
    clip = model().model
    prompts = [on.data.template.format(on.data.class_names[c]) for c in classes]
    ids = model().tokenizer(prompts, padding="longest", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = clip(input_ids=ids, pixel_values=model().pixels(on.data.test.images.load(positions))).logits_per_image
    return np.asarray(classes[logits.argmax(1).numpy()] == on.data.test.labels[positions])


def test_every_split_is_counted_as_a_person_would() -> None:
    on = bench(world())
    method = ZeroShot()
    metrics = evaluate(method, serve(method, on), True, None).metrics
    base, novel = on.data.base_classes, on.data.novel_classes
    groups = {"base": base, "novel": novel, "global": np.sort(np.concatenate([base, novel]))}
    groups |= {split: base for split in on.data.tests if split.startswith("domain/")}
    assert set(groups) == set(on.data.tests)
    for split, classes in groups.items():
        right = plain_right(on, on.data.tests[split], classes)
        assert metrics[f"shared/{split}/accuracy/mean"] == pytest.approx(right.mean())
    own = [plain_right(on, on.data.clients.test(k), base) for k in range(4)]
    each = [right.mean() for right in own]
    assert metrics["shared/local/accuracy/mean"] == pytest.approx(np.mean(each))
    assert metrics["shared/local/accuracy/worst"] == pytest.approx(min(each))
    assert metrics["shared/local/accuracy/p10"] == pytest.approx(np.quantile(each, 0.1))
    assert metrics["shared/local/accuracy/weighted"] == pytest.approx(np.concatenate(own).mean())
    b, n = (metrics[f"shared/{split}/accuracy/mean"] for split in ("base", "novel"))
    assert metrics["shared/hm/accuracy/mean"] == pytest.approx(2 / (1 / b + 1 / n))
    assert not any(name.startswith("personal/") for name in metrics)


def test_candidates_of_each_split() -> None:
    on = bench(world())
    assert set(candidates(on.data, "novel")) == set(on.data.novel_classes)
    assert set(candidates(on.data, "global")) == set(on.data.base_classes) | set(on.data.novel_classes)
    for split in ("local", "base", "domain/pastel"):
        assert set(candidates(on.data, split)) == set(on.data.base_classes)


def test_clients_are_reported_by_name() -> None:
    on = bench(digits())
    result = evaluate(ZeroShot(), serve(ZeroShot(), on), True, None)
    assert list(result.clients) == [on.data.clients.name(k) for k in range(4)]
    first = plain_right(on, on.data.clients.test(0), on.data.base_classes).mean()
    assert first in [pytest.approx(value) for value in result.clients[on.data.clients.name(0)].values()]


def test_personal_models_are_measured_on_their_own_clients() -> None:
    on = bench(digits(), epochs=4, lr=5e-3)
    method = Local()
    server = play(method, serve(method, on), 2)
    whole, brief = (evaluate(method, server, pooled_personal, None).metrics for pooled_personal in (True, False))
    assert not any(name.startswith("shared/") for name in whole)
    assert {name for name in whole if name.startswith("personal/base")}
    assert not {name for name in brief if name.startswith("personal/base")}
    assert {name: whole[name] for name in brief} == brief
    from synoptic.federation.cohort import Cohort
    from synoptic.federation.personal import Personal

    store = server._federation._store  # type: ignore[attr-defined]
    each = []
    for k in range(4):
        stack = method.personal_model(Cohort([k], on, Personal(store, [k]), 0), None)
        assert stack is not None
        each.append(float(on.problem.score(stack, on.data.clients.test(k), "local")["accuracy"].double().mean()))
    assert whole["personal/local/accuracy/mean"] == pytest.approx(np.mean(each))
    assert whole["personal/local/accuracy/worst"] == pytest.approx(min(each))


def test_a_limit_on_clients_draws_the_same_ones_every_time() -> None:
    on = bench(digits())
    results = []
    for t in (0, 5):
        server = serve(ZeroShot(), on)
        server.round = t
        results.append(list(evaluate(ZeroShot(), server, True, 2).clients))
    assert results[0] == results[1]
    assert len(results[0]) == 2


def test_measuring_changes_nothing() -> None:
    on = bench(digits())
    method = FedAvg()
    server = play(method, serve(method, on), 1)
    before, bytes_before = server.state.hash(), (server.ledger.total("up"), server.ledger.total("down"))
    first, second = (evaluate(method, server, True, None) for _ in range(2))
    assert first == second
    assert server.state.hash() == before
    assert (server.ledger.total("up"), server.ledger.total("down")) == bytes_before


def test_only_counts_leave_a_client() -> None:
    on = bench(digits())
    replies = serve(FedAvg(), on).ask("evaluate", splits="local", adapter=on.new_adapter())
    assert {name: tuple(field[0].shape) for name, field in replies.fields.items()} == {
        "count/local": (),
        "shared/local/accuracy": (),
        "shared/local/loss": (),
    }


def test_scores_of_a_stack_are_those_of_each_model() -> None:
    on = bench(pooled(digits()), lr=5e-3, epochs=3)
    method = FedAvg()
    tuned = play(method, serve(method, on), 1).state.adapter
    fresh = on.new_adapter()
    stack = {name: torch.stack([tuned[name], fresh[name]]) for name in leaves(tuned)}
    positions = on.data.tests["base"]
    together = on.problem.score(stack, positions, "base")["loss"]
    for place, one in enumerate((tuned, fresh)):
        alone = on.problem.score(expand(one, 1), positions, "base")["loss"][0]
        torch.testing.assert_close(together[place], alone, rtol=0, atol=1e-4)
