"""The family on a generative base: rules see factors, not the kind of model."""

from __future__ import annotations

from functools import cache

import pytest

import answerers
from rooms import furthest, play, serve
from synoptic.adapters.spec import AdapterSpec
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.experiment.evaluate import evaluate
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.personal import PersonalStore
from synoptic.learning.spec import TrainSpec
from synoptic.methods.fedvlm import FedVLM
from synoptic.methods.fedvlm_rules import RULES
from synoptic.models.cache import Budget

CLIENTS, RANK, FLOAT = 3, 2, 4


@cache
def asked() -> FederatedData:
    questions = {"train": 16, "test": 4, "groups": CLIENTS}
    return build(DataSpec.model_validate({"source": "questions", "questions": questions, "clients": CLIENTS}), 0)


def on() -> Bench:
    adapter = AdapterSpec.model_validate({"text": {"lora": {"rank": RANK, "layers": 1}}})
    train = TrainSpec(batch_size=8, lr=5e-3, epochs=2)
    return make_bench(answerers.base("llava"), asked(), adapter, train, 0, 2, Budget(2**28))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_tunes_a_generative_model(rule: str) -> None:
    """Stacked equals one by one; personal answers where something is kept; B is the cheap side of grouped queries."""
    made, store, alone = on(), PersonalStore(), PersonalStore()
    method = FedVLM(FedVLM.Settings(rule=rule))
    server = play(method, serve(method, made, store=store), 2)
    other = play(method, serve(method, made, stack=1, store=alone), 2)
    if "shared" in server.state:
        assert furthest(server.state.shared, other.state.shared) < 1e-5
    assert store.clients() == alone.clients() == (list(range(CLIENTS)) if RULES[rule].kept else [])
    kind = "personal" if RULES[rule].kept else "shared"
    assert 0 <= evaluate(method, server, False, None).metrics[f"{kind}/local/accuracy/mean"] <= 1
    sites = made.model.sites("text", made.adapter.text.lora)  # type: ignore[arg-type]
    B, A = (FLOAT * RANK * sum(getattr(site, side) for site in sites) for side in ("outputs", "inputs"))
    assert B < A
    # RoLoRA's two rounds are B's and A's.
    each = {"local": 0, "ffa": 2 * B, "plora": 2 * B, "fedsa": 2 * A, "rolora": A + B}.get(rule, 2 * (A + B))
    assert server.ledger.total("up") == CLIENTS * (each + 2 * 2 * FLOAT)
