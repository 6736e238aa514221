"""Flower's own processes: stock nodes at a Synoptic server, and `flwr run` on a stock SuperLink. Minutes each."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from benchmarks.deploy.processes import MAIN, Group, free_port, groups

from runs import small
from synoptic.core.files import read_json
from synoptic.deploy.bundle import FOLDER
from synoptic.deploy.keys import make_keys
from synoptic.experiment.runner import run

WAIT = 1500.0
SETTINGS = ("data.train_limit=60", "data.test_limit=40", "data.clients=2", "train.batch_size=8", "compute.threads=1",
            "federation.stack=1", "rounds=1")  # fmt: skip


def summary(output: Path) -> dict[str, object]:
    (path,) = output.glob("*/summary.json")
    return dict(read_json(path))


def straight(folder: Path, method: str) -> dict[str, object]:
    return run(small(folder, method, "data.clients=2", "federation.stack=1", "rounds=1")).summary


def parts(seat: int) -> list[str]:
    return ["--port", str(free_port()), "--node-config", f'partition-id={seat} num-partitions=2 state="s{seat}"']


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="keys are put into OpenSSH's form by ssh-keygen")
def test_stock_nodes_at_our_server_end_where_one_process_does(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys", ["localhost"], ["north", "south"])
    port = free_port()
    with groups() as started:
        server = [*MAIN, "serve", "fedavg", *SETTINGS, "output=runs", "--listen", f"127.0.0.1:{port}", "--tls",
                  "keys/server.crt", "keys/server.key", "--clients", "keys/clients", "--grace", "600"]  # fmt: skip
        started.append(Group(tmp_path / "serve.log", server, tmp_path))
        for seat, name in enumerate(["north", "south"]):
            key = shutil.copy(tmp_path / "keys" / "sites" / f"{name}.key", tmp_path / f"{name}.ssh")
            subprocess.run(["ssh-keygen", "-p", "-q", "-N", "", "-f", str(key)], check=True, timeout=60)
            node = ["flower-supernode", "--superlink", f"localhost:{port}", "--root-certificates", "keys/ca.crt",
                    "--auth-supernode-private-key", str(key), *parts(seat)]  # fmt: skip
            started.append(Group(tmp_path / f"{name}.log", node, tmp_path))
        assert started[0].wait(WAIT) == 0, "\n".join(group.log.read_text()[-3000:] for group in started)
    told = summary(tmp_path / "runs")
    assert list(told["clients"]) == ["north", "south"]  # type: ignore[call-overload]
    assert told["final_hash"] == straight(tmp_path / "here", "fedavg")["final_hash"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_flwr_run_on_a_stock_superlink_ends_where_one_process_does(tmp_path: Path) -> None:
    port = free_port()
    home = tmp_path / "flwr"
    home.mkdir()
    (home / "config.toml").write_text(f'[superlink.ours]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    config = f'settings="{" ".join(SETTINGS)} output={tmp_path / "runs"}" grace=600.0'
    with groups() as started:
        link = ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port),
                "--disable-runtime-dependency-installation"]  # fmt: skip
        started.append(Group(tmp_path / "link.log", link, tmp_path))
        for seat in range(2):
            node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", *parts(seat)]
            started.append(Group(tmp_path / f"node{seat}.log", node, tmp_path))
        time.sleep(10)
        order = ["flwr", "run", str(FOLDER), "ours", "--stream", "--run-config", config]
        started.append(Group(tmp_path / "run.log", order, tmp_path))
        assert started[-1].wait(WAIT) == 0, "\n".join(group.log.read_text()[-3000:] for group in started)
    assert summary(tmp_path / "runs")["final_hash"] == straight(tmp_path / "here", "fedavg")["final_hash"]
