"""FedAvg on Flower's simulation engine (Ray): `python -m benchmarks.peers.flower.run ROUNDS PROCESSES OUTPUT`.

Settings, as its documentation advises for small models on a CPU: one CPU for each client, as many actors as cores,
no federated evaluation, no dashboard. `run_simulation` is used although it is deprecated, because it is faster than
`flwr run`, which starts a SuperLink besides.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.peers.flower.app import app as client_app
from benchmarks.peers.twin import Twin

SETTINGS = (
    "run_simulation on Ray, one CPU for each client, one actor for each core, one thread in each; model and data built "
    "once in an actor; fraction_evaluate=0"
)


def main(rounds: int, processes: int, output: Path) -> None:
    """Run and write the seconds."""
    started = time.perf_counter()
    twin = Twin()
    ready: list[float] = []
    server_app = ServerApp()

    @server_app.main()
    def run(grid: Grid, context: Context) -> None:
        def after(round_: int, arrays: ArrayRecord) -> MetricRecord | None:
            if round_ == 0:
                ready.append(time.perf_counter() - started)
            else:
                twin.finished(arrays.to_torch_state_dict())
            twin.begin()
            return None

        clients = twin.job.clients
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
        strategy.start(grid, ArrayRecord(OrderedDict(twin.job.start)), num_rounds=rounds, evaluate_fn=after)

    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        options = {"num_cpus": processes, "include_dashboard": False, "_temp_dir": folder}
        backend = {"init_args": options, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
        run_simulation(server_app, client_app, twin.job.clients, backend_config=backend)
    notes = {"processes": processes, "settings": SETTINGS, "start_up_seconds": round(ready[0], 3)}
    twin.write(output, ["flwr", "ray", "torch", "transformers", "numpy"], notes)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
