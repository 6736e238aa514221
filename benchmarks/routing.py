"""Which router finds the client that an input belongs to, where sizes differ: `python -m benchmarks.routing`.

Three clients, each with a Gaussian domain of inputs. Written: `benchmarks/results/routing.json`, and the tables in
`docs/routing.md`. ``--quick`` proves that it runs and writes nothing; ``--page`` writes the tables again from the file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before torch is imported: it reads this once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from benchmarks.marks import between, percent
from benchmarks.measure import environment
from synoptic.core.files import read_json, write_json, write_text
from synoptic.learning.routing import (
    Router,
    discriminant,
    draw_others,
    fit_gate,
    gated,
    index_step,
    mixed,
    statistics,
)

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "routing.json", ROOT / "docs" / "routing.md"
BEGIN, END = "<!-- written by `python -m benchmarks.routing` -->\n", "<!-- end -->"

SIZES, WIDTH, TEST = (1500, 300, 100), 32, 1000
SEPARATIONS = (1.0, 2.0, 4.0)
LOCAL_STEPS = (1, 10, 100)
SEEDS, ROUNDS, RATE = range(5), 200, 0.1
FAR = 10.0
"""How far from all domains, in standard deviations, inputs lie that belong to nobody."""

Inputs = list[Tensor]


def domains(seed: int, separation: float, sizes: Sequence[int]) -> Inputs:
    """Inputs of each client ``[n_k, d]``: unit Gaussians whose centres lie ``separation`` apart from the origin."""
    rng = torch.Generator().manual_seed(seed)
    centres = separation * torch.linalg.qr(torch.randn(WIDTH, len(SIZES), generator=rng, dtype=torch.float64))[0].T
    return [centre + torch.randn(size, WIDTH, generator=rng, dtype=torch.float64)
            for centre, size in zip(centres, sizes, strict=True)]  # fmt: skip


def by_index(parts: Inputs, steps: int, uniform: bool, rounds: int) -> Router:
    """The averaged classifier of client numbers: the same steps in all, in fewer rounds the more of them are local."""
    sizes = torch.tensor([float(len(part)) for part in parts], dtype=torch.float64)
    share = torch.full_like(sizes, 1 / len(parts)) if uniform else sizes / sizes.sum()
    router = Router(torch.zeros(len(parts), WIDTH, dtype=torch.float64), torch.zeros(len(parts), dtype=torch.float64))
    for _ in range(rounds):
        local = [index_step(router, part, client, steps, RATE) for client, part in enumerate(parts)]
        weight = sum((s * one.weight for s, one in zip(share, local, strict=True)), torch.zeros(()))
        bias = sum((s * one.bias for s, one in zip(share, local, strict=True)), torch.zeros(()))
        router = Router(weight, bias)
    return router


def by_gates(parts: Inputs, seed: int) -> Router:
    """Each client's gate, every reward model right at home."""
    told = [statistics(part) for part in parts]
    gates = []
    for client, own in enumerate(parts):
        others = draw_others(told, client, 2 * len(own), torch.Generator().manual_seed(1000 * seed + client))
        gates.append(fit_gate(own, torch.ones(len(own)), others))
    return gated(torch.stack([gate[0] for gate in gates]), torch.stack([gate[1] for gate in gates]), told)


def routers(rounds: int) -> dict[str, Callable[[Inputs, int], Router]]:
    """All ways by the name of their row."""
    ways: dict[str, Callable[[Inputs, int], Router]] = {}
    for weights in ("by examples", "uniform"):
        for steps in LOCAL_STEPS:
            name = f"client index, {steps} local step{'s' * (steps > 1)}, averaged {weights}"
            ways[name] = lambda parts, seed, e=steps, u=weights == "uniform": by_index(parts, e, u, rounds)  # type: ignore[misc]
    ways["gates"] = by_gates
    ways["closed form"] = lambda parts, seed: discriminant([statistics(part) for part in parts])
    ways["closed form, diagonal"] = lambda parts, seed: discriminant([statistics(part, full=False) for part in parts])
    return ways


def measure(separation: float, seed: int, rounds: int) -> list[dict[str, Any]]:
    """Every router on the same domains: the share of test inputs that it sends home, and its trust in far ones."""
    everything = domains(seed, separation, [size + TEST for size in SIZES])
    parts = [part[:-TEST] for part in everything]
    test = torch.cat([part[-TEST:] for part in everything])
    home = torch.arange(len(SIZES)).repeat_interleave(TEST)
    away = torch.randn(TEST, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    far = FAR * away / away.norm(dim=1, keepdim=True) * WIDTH**0.5
    rows = []
    for name, way in routers(rounds).items():
        router = way(parts, seed)
        right = float((router.logits(test).argmax(1) == home).double().mean())
        trust = float(mixed(router.logits(far), odds_n=router.odds(far)).max(1).values.mean())
        rows.append({"router": name, "separation": separation, "seed": seed, "right": right, "far": trust})
    return rows


def with_table(page: str, rows: Sequence[dict[str, Any]]) -> str:
    """The page with the table between its marks."""
    return between(page, BEGIN, END, table(rows))


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Means over seeds and half of a 95 % interval, in per cent."""
    names = list(dict.fromkeys(row["router"] for row in rows))
    heads = [f"sent home, {separation:g} apart" for separation in SEPARATIONS]
    lines = [f"| router | {' | '.join(heads)} | trust in strangers |", "|---" * (2 + len(heads)) + "|"]
    for name in names:
        own = [row for row in rows if row["router"] == name]
        cells = [percent([row["right"] for row in own if row["separation"] == apart]) for apart in SEPARATIONS]
        cells.append(percent([row["far"] for row in own if row["separation"] == SEPARATIONS[-1]]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    seeds = sorted({row["seed"] for row in rows})
    return [*lines, "", f"Per cent, mean ± half of a 95 % t-interval over seeds {seeds[0]} to {seeds[-1]}. Three "
            f"clients with {SIZES[0]}, {SIZES[1]} and {SIZES[2]} inputs of {WIDTH} dimensions, {TEST} of each to test; "
            f"{ROUNDS} rounds at a rate of {RATE:g} for the client index."]  # fmt: skip


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, two rounds; writes nothing")
    parser.add_argument("--page", action="store_true", help="write the tables again, run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.page:
        seeds, rounds = (range(1), 2) if options.quick else (SEEDS, ROUNDS)
        rows = [row for apart in SEPARATIONS for seed in seeds for row in measure(apart, seed, rounds)]
        if options.quick:
            print(*rows, sep="\n")
            return
        write_json(RESULTS, {"rows": rows, "environment": environment()})
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), read_json(RESULTS)["rows"]))
    print(f"wrote the table in {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
