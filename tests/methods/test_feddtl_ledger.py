"""F13: bytes by message kind are those of the formulas in docs/methods/feddtl.md."""

from __future__ import annotations

from typing import Any

import pytest

from rooms import BOTH, bench, digits, play, serve, world
from synoptic.data.federated import FederatedData
from synoptic.methods.feddtl import FedDTL

FLOAT, SHORT, JOINT, SITES, RANK, WIDTH = 4, 2, 128, 3, 2, 128
VISION = FLOAT * SITES * (RANK * (WIDTH + WIDTH) + 1)
"""LoRA of rank 2 on q, k and v of one block: A [r, d], B [d, r] and the scale."""

MEASURES = 5


def bytes_of(data: FederatedData, rounds: int = 2, **settings: Any) -> dict[str, dict[str, int]]:
    method = FedDTL(FedDTL.Settings.model_validate({"warm_up": 1, **settings}))
    server = play(method, serve(method, bench(data, {**BOTH, "vision": {"lora": {"rank": RANK, "layers": 1}}})), rounds)
    kinds: dict[str, dict[str, int]] = server.ledger.summary()["by_kind"]
    return kinds


def both_ways(up: int = 0, down: int = 0) -> dict[str, int]:
    return {"up": up, "down": down}


@pytest.mark.parametrize("data", [digits(), world()], ids=["digits", "world"])
def test_a_round_of_each_stage(data: FederatedData) -> None:
    clients, classes, examples = 4, len(data.base_classes), len(data.train)
    names, images = FLOAT * classes * JOINT, FLOAT * examples * JOINT
    common = {
        "adapter": both_ways(clients * VISION, clients * VISION),
        "text": both_ways(down=clients * names),
        "embedding": both_ways(up=images),
        "label": both_ways(up=SHORT * examples),
        "examples": both_ways(up=clients * FLOAT),
        "loss": both_ways(up=clients * FLOAT),
    }
    second = {
        "anchor": both_ways(down=clients * VISION),
        "measures": both_ways(up=clients * MEASURES * FLOAT),
    }
    wanted = {f"sft.{name}": count for name, count in common.items()}
    wanted |= {f"rl.{name}": count for name, count in {**common, **second}.items()}
    assert bytes_of(data) == wanted


def held(data: FederatedData) -> list[list[int]]:
    """Examples of each class, client by client."""
    labels = [data.train.labels[data.clients.train(k)] for k in range(len(data.clients))]
    return [[int((own == c).sum()) for c in data.base_classes if (own == c).any()] for own in labels]


def test_what_is_sent_of_images() -> None:
    data = digits()
    counts = held(data)
    capped = bytes_of(data, 1, uplink="capped", cap=3)
    sent = sum(min(count, 3) for own in counts for count in own)
    assert sent < len(data.train)
    assert capped["sft.embedding"] == both_ways(up=FLOAT * JOINT * sent)
    assert capped["sft.label"] == both_ways(up=SHORT * sent)
    means = bytes_of(data, 1, uplink="prototypes")
    classes = sum(len(own) for own in counts)
    assert means["sft.embedding"] == both_ways(up=FLOAT * JOINT * classes)
    assert means["sft.label"] == both_ways(up=SHORT * classes)
    assert means["sft.count"] == both_ways(up=FLOAT * classes)
    assert means["sft.variance"] == both_ways(up=FLOAT * JOINT * len(data.clients))


def test_averaged_pairing_sends_the_averaged_adapter_once_more() -> None:
    data = digits()
    kinds = bytes_of(data, 1, pairing="averaged")
    assert "sft.embedding" not in kinds
    assert kinds["embed.adapter"] == both_ways(down=4 * VISION)
    assert kinds["embed.embedding"] == both_ways(up=FLOAT * JOINT * len(data.train))


def test_server_text_only_sends_nothing_down() -> None:
    data = digits()
    assert bytes_of(data, 1, vision="frozen") == {
        "embed.embedding": both_ways(up=FLOAT * JOINT * len(data.train)),
        "embed.label": both_ways(up=SHORT * len(data.train)),
    }


def test_without_a_text_tower_on_the_server_no_image_tells_anything() -> None:
    kinds = bytes_of(digits(), 1, text="frozen")
    assert set(kinds) == {"sft.adapter", "sft.examples", "sft.loss"}
