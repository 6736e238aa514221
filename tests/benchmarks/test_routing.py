"""The routers' table: what it is made of, and that the page shows the committed results."""

from __future__ import annotations

import torch
from benchmarks.routing import (
    BEGIN,
    END,
    PAGE,
    RESULTS,
    SEPARATIONS,
    by_index,
    domains,
    measure,
    routers,
    table,
    with_table,
)

from synoptic.core.files import read_json


def test_one_local_step_by_examples_is_pooled_gradient_descent() -> None:
    parts = domains(0, 2.0, (30, 20, 10))
    router = by_index(parts, steps=1, uniform=False, rounds=3)
    weight, bias = torch.zeros(3, 32, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    inputs, truth = torch.cat(parts), torch.arange(3).repeat_interleave(torch.tensor([30, 20, 10]))
    for _ in range(3):
        weight.requires_grad_(), bias.requires_grad_()
        loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, truth)
        slopes = torch.autograd.grad(loss, (weight, bias))
        weight, bias = (weight - 0.1 * slopes[0]).detach(), (bias - 0.1 * slopes[1]).detach()
    assert torch.allclose(router.weight, weight)
    assert torch.allclose(router.bias, bias)


def test_every_router_is_measured_on_the_same_domains() -> None:
    rows = measure(4.0, 0, rounds=2)
    assert [row["router"] for row in rows] == list(routers(2))
    found = {row["router"]: row for row in rows}
    assert found["closed form"]["right"] > 0.95
    assert found["gates"]["right"] > 0.95
    assert found["closed form"]["far"] < 0.01


def test_the_table_is_written_between_its_marks() -> None:
    rows = [{"router": name, "separation": apart, "seed": seed, "right": 0.5, "far": 0.25}
            for name in ("one", "two") for apart in SEPARATIONS for seed in range(2)]  # fmt: skip
    page = "head\n" + BEGIN + END + "\ntail\n"
    for _ in range(2):
        page = with_table(page, rows)
    assert page.count("| two | 50.0 ± 0.0 | 50.0 ± 0.0 | 50.0 ± 0.0 | 25.0 ± 0.0 |") == 1
    assert page.startswith("head\n") and page.endswith("tail\n")
    assert len(table(rows)) == 2 + 2 + 2


def test_the_page_shows_the_committed_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page, read_json(RESULTS)["rows"]), "run: python -m benchmarks.routing --page"
