"""Runs over nodes, measured and mistreated.

    python -m benchmarks.deploy [--only asks,stock,faults,soak] [--rounds N] [--page]

asks    an ask there and back, two nodes that only echo: a minute
stock   a round with stock Flower nodes against resident ones: some minutes
faults  1,000 faults in process and a few dozen over sockets: some minutes
soak    200 rounds, five nodes, 2 MB over TLS, memory and bytes: only when named; ``--rounds`` tries fewer

Written: `benchmarks/results/deploy.json` and `docs/deploy/figures.md`. ``--page`` writes the page again from the file.
With ``--rounds``, which proves that the soak runs, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Before torch is imported: it reads this once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.deploy import asks, soak, stock
from benchmarks.deploy.faults import CLIENTS, Chaos, few, thousand
from benchmarks.deploy.loopback import Loopback
from benchmarks.deploy.page import page
from benchmarks.deploy.sockets import over_sockets
from benchmarks.deploy.world import World
from benchmarks.measure import PACKAGES, environment, load_average
from synoptic.core.files import read_json, write_json, write_text

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "deploy.json", ROOT / "docs" / "deploy" / "figures.md"
DEFAULT = "asks,stock,faults"


def faults() -> dict[str, Any]:
    """Both tallies."""
    chaos = Chaos()
    with TemporaryDirectory() as folder:
        inside = chaos.run(World(Path(folder), CLIENTS, post=lambda nodes: Loopback(nodes, chaos.fate)), thousand())
    with TemporaryDirectory() as folder:
        outside = over_sockets(Path(folder), few())
    return {"in_process": inside.as_json(), "over_sockets": outside.as_json()}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "asks": asks.measure, "stock": stock.compare, "faults": faults, "soak": soak.soak
}  # fmt: skip


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=DEFAULT, help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="try the soak with so many rounds, and write nothing")
    parser.add_argument("--page", action="store_true", help="write the page again, measure nothing")
    options = parser.parse_args()
    if options.rounds is not None:
        print(json.dumps(soak.soak(options.rounds), indent=2))
        return
    if not options.page:
        for name in options.only.split(","):
            print(name, flush=True)
            here = environment((*PACKAGES, "flwr"))
            figures = PARTS[name]()
            content = read_json(RESULTS) if RESULTS.exists() else {}
            about = {"environment": {**here, "load_average_after": load_average()}}
            write_json(RESULTS, {**content, name: {**about, **figures}})
    write_text(PAGE, page(read_json(RESULTS)))


if __name__ == "__main__":
    main()
