"""Rule 7: what the ledger counts is what the formula in each method's page says, in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from rooms import BOTH, HEAD, PROMPT, VISION, bench, digits, play, serve
from synoptic.methods.base import load_method

FLOAT, WIDTH, JOINT = 4, 128, 128
SITES = 3
"""q, k and v of one block, each 128 x 128 in the embedded base."""


def lora(rank: int, sites: int = SITES) -> int:
    """Bytes of one adapter: A [r, in], B [out, r] and the scale of every site."""
    return FLOAT * sites * (rank * (WIDTH + WIDTH) + 1)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "promptfl", "kgcoop"])
@pytest.mark.parametrize(
    ("adapter", "size"),
    [(VISION, lora(2)), (BOTH, 2 * lora(2)), (PROMPT, FLOAT * 3 * WIDTH), (HEAD, FLOAT * JOINT * JOINT)],
    ids=["vision", "both", "prompt", "head"],
)
@pytest.mark.parametrize("participation", [1.0, 2])
def test_an_adapter_down_and_an_adapter_and_two_numbers_up(
    name: str, adapter: dict[str, Any], size: int, participation: float
) -> None:
    method = load_method(name)()
    server = play(method, serve(method, bench(digits(), adapter), participation=participation), 3)
    messages = 3 * (4 if participation == 1.0 else 2)
    assert server.ledger.total("down") == messages * size
    assert server.ledger.total("up") == messages * (size + FLOAT + FLOAT)


def test_the_default_adapter_of_fedavg() -> None:
    kind = load_method("fedavg")
    spec = kind.adapter.model_dump()
    assert spec["vision"]["lora"]["rank"] == 4
    server = play(kind(), serve(kind(), bench(digits(), spec)), 1)
    assert server.ledger.total("down") == 4 * lora(4, sites=2 * SITES)


def test_on_the_wire_a_message_is_the_payload_and_a_small_frame() -> None:
    from synoptic.federation.message import encode, field_bytes

    adapter = bench(digits()).new_adapter()
    payload = field_bytes(adapter)
    assert payload == lora(2)
    frame = len(encode({"adapter": adapter})) - payload
    assert 0 < frame < 400 * len(adapter.keys())
