"""The same node and the same server as Flower apps, for stock SuperNodes and for ``flwr run``.

A stock SuperNode starts a process for every message. What a resident node keeps in memory is therefore found on disk:
the terms of the run, and the personal state. Everything else is the code of `synoptic join` and `synoptic serve`.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from synoptic.core import SynopticError
from synoptic.core.errors import nearest
from synoptic.deploy import flower
from synoptic.deploy.envelope import pack_refusal
from synoptic.deploy.grid import GridPost
from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy, read_policy
from synoptic.deploy.session import Hall, resume, serve
from synoptic.deploy.site import Site, own_data, parse_partition
from synoptic.experiment.display import LineWatcher, output
from synoptic.experiment.recipe import load_recipe

KEYS = ("data", "settings", "policy", "state", "model", "partition-id", "num-partitions")
"""What a node's configuration may hold."""

STATE = "synoptic-site"

log = logging.getLogger("flwr")

client_app = flower.ClientApp()
server_app = flower.ServerApp()


@client_app.query()
def answer(message: Any, context: Any) -> Any:
    """A stock node's reply to one letter."""
    log.setLevel(logging.INFO)
    return flower.reply_to(message, answered(message, context.node_config))


def answered(message: Any, config: Mapping[str, Any]) -> bytes:
    """The reply's bytes.

    Args:
        message: Flower's, with a letter in it.
        config: the node's own, as ``--node-config`` gives it; see `KEYS`.
    """
    try:
        site, policy, state = configured(config)
        state.mkdir(parents=True, exist_ok=True)
        left = message.metadata.created_at + message.metadata.ttl - time.time()
        # A process that still works on an earlier letter must not find its state changed under it.
        with FileLock(state / "lock").acquire(timeout=max(0.0, left)):
            return Node(site, policy, state, log.info, recalls=True).answer(flower.packed(message) or b"")
    except Timeout:
        return _refused("this node still worked on an earlier question; raise federation.deadline")
    except (SynopticError, OSError) as error:
        return _refused(str(error))


def _refused(why: str) -> bytes:
    log.warning("refused: %s", why)
    return pack_refusal("", why)


def configured(config: Mapping[str, Any]) -> tuple[Site, Policy, Path]:
    """What a stock node was started with.

    Raises:
        SynopticError: a key that there is not, or data that are not described.
    """
    if unknown := [key for key in config if key not in KEYS]:
        raise SynopticError(f"a node's configuration has no '{unknown[0]}'", nearest(unknown[0], KEYS))
    told = {key: str(value) for key, value in config.items()}
    model = told.get("model")
    if "data" in told:
        site = Site(data=own_data(told["data"], shlex.split(told.get("settings", ""))), model=model)
    elif "partition-id" in told and "num-partitions" in told:
        seats, of = parse_partition(f"{told['partition-id']}/{told['num-partitions']}")
        site = Site(seats=seats, of=of, model=model)
    else:
        raise SynopticError("this node's configuration names no data", "start it with --node-config 'data=\"/data\"'")
    policy = read_policy(Path(told["policy"])) if "policy" in told else Policy()
    part = f"-{told['partition-id']}" if "data" not in told else ""
    return site, policy, Path(told.get("state", f"{STATE}{part}")).expanduser()


@server_app.main()
def main(grid: Any, context: Any) -> None:
    """Run a recipe with the nodes of a SuperLink; see the run configuration in ``app/pyproject.toml``."""
    log.setLevel(logging.INFO)
    config = context.run_config
    hall = Hall(GridPost(grid, Hall.largest), (), float(config["patience"]), float(config["grace"]), say=log.info)
    console = output()
    with LineWatcher(console) as watcher:
        if config["resume"]:
            result = resume(Path(str(config["resume"])), hall, [watcher])
        else:
            recipe = load_recipe(str(config["recipe"]), shlex.split(str(config["settings"])))
            result = serve(recipe, hall, [watcher])
    log.info("%s", result.folder)
