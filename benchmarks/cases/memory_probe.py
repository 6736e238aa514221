"""One population in a process of its own: `python -m benchmarks.cases.memory_probe CLIENTS ROUNDS` prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import load_average
from benchmarks.workload import LORA, SEED, TRAIN
from synoptic.adapters.spec import AdapterSpec
from synoptic.core.seeds import numpy_generator
from synoptic.data import digits
from synoptic.data.clients import ClientIndex
from synoptic.data.federated import FederatedData
from synoptic.data.images import ArrayImages, ChosenImages
from synoptic.data.rows import Rows
from synoptic.data.table import ExampleTable
from synoptic.federation.bench import make_bench
from synoptic.federation.local import LocalFederation
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.federation.spec import FederationSpec
from synoptic.methods.fedavg import FedAvg
from synoptic.models.cache import Budget
from synoptic.models.load import load_dual_encoder

EACH = 10
COHORT = 20


def population(clients: int) -> tuple[FederatedData, int]:
    """So many clients with ten examples each, drawn with replacement from the digits, and the bytes of their index."""
    pictures, labels = digits.load()
    train, test = digits.split()
    drawn = numpy_generator(SEED, "population").choice(train, clients * EACH)
    offsets = np.arange(clients + 1) * EACH
    nobody = Rows(np.zeros(0, dtype=np.int64), np.zeros(clients + 1, dtype=np.int64))
    index = ClientIndex(Rows(np.arange(clients * EACH), offsets), nobody, nobody)
    store = ArrayImages(pictures)
    train_table = ExampleTable("train", ChosenImages(store, drawn), labels[drawn], digits.CLASS_NAMES)
    test_table = ExampleTable("test", ChosenImages(store, test), labels[test], digits.CLASS_NAMES)
    classes, none = np.arange(10), np.zeros(0, dtype=np.int64)
    tests = {"global": np.arange(len(test))}
    data = FederatedData(train_table, test_table, classes, none, digits.TEMPLATE, tests, index)
    arrays = [drawn, train_table.labels, index.train_rows.positions, offsets, nobody.offsets]
    return data, sum(array.nbytes for array in arrays)


def peak_rss() -> int:
    """Peak resident bytes of this process alone."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: Linux carries the parent's peak over into it.
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(clients: int, rounds: int) -> None:
    """Build, train, and print peak memory in bytes and seconds."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    data, index_bytes = population(clients)
    model = load_dual_encoder("tiny-clip")
    bench = make_bench(model, data, AdapterSpec.model_validate(LORA), TRAIN, SEED, rounds, Budget(2**31))
    method = FedAvg()
    federation = LocalFederation(method, bench, PersonalStore(), 10)
    server = Server(bench, federation, FederationSpec(participation=float(min(COHORT, clients))))
    method.begin(server)
    seconds = [time.perf_counter() - started]
    for t in range(rounds):
        server.round, begun = t, time.perf_counter()
        method.round(server, t)
        seconds.append(time.perf_counter() - begun)
    report = {"peak_rss": peak_rss(), "index_bytes": index_bytes, "set_up_seconds": round(seconds[0], 3),
              "round_seconds": [round(value, 4) for value in seconds[1:]], "load_average": load_average()}  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
