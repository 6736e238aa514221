from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.deploy.loopback import Loopback, parts

from runs import small, stop_at, timeless
from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy
from synoptic.deploy.session import Hall, resume, serve
from synoptic.deploy.site import Site
from synoptic.deploy.status import read_status
from synoptic.experiment.recipe import Recipe
from synoptic.experiment.runner import run
from synoptic.federation.message import encode
from synoptic.federation.personal import PersonalStore
from synoptic.methods.base import load_method, registry
from synoptic.methods.local import Local

DEPLOYABLE = [name for name in registry() if not load_method(name).pools_data]


def recipe(output: Path, method: str = "fedavg", *changes: str) -> Recipe:
    return small(output, method, "federation.stack=1", "rounds=2", *changes)


def kept(folders: list[Path]) -> dict[str, str]:
    """Hash of each client's newest personal state below these folders."""
    newest = {
        path.name.split("-r")[0]: path for folder in folders for path in sorted(folder.rglob("personal/*.safetensors"))
    }
    store = {int(client): PersonalStore(path.parent) for client, path in newest.items()}
    for client, its in store.items():
        its.versions = {client: int(newest[f"{client:07d}"].stem.split("-r")[1])}
    return {str(client): digest(encode(its.load(client))) for client, its in sorted(store.items())}


@pytest.mark.parametrize("method", DEPLOYABLE)
def test_rule_2_in_process_is_deployed(method: str, tmp_path: Path) -> None:
    here = run(recipe(tmp_path / "here", method))
    there = serve(recipe(tmp_path / "there", method), Hall(Loopback(parts(3, tmp_path / "sites"))))
    assert state_hash(here.folder) == state_hash(there.folder)
    assert kept([here.folder]) == kept(list((tmp_path / "sites").iterdir()))
    same = ("metrics", "before", "bytes", "work", "log", "clients", "rounds")
    assert {key: here.summary[key] for key in same} == {key: there.summary[key] for key in same}
    assert not list(there.folder.rglob("personal/*.safetensors"))


def state_hash(folder: Path) -> str:
    """Of the server's state at the end."""
    from synoptic.experiment.checkpoint import newest_checkpoint

    return digest(newest_checkpoint(folder / "checkpoints")[0])


def test_one_node_may_be_many_clients(tmp_path: Path) -> None:
    node = Node(Site(seats=(0, 2), of=3), Policy(), tmp_path / "a")
    other = Node(Site(seats=(1,), of=3), Policy(), tmp_path / "b")
    there = serve(recipe(tmp_path / "there"), Hall(Loopback({1: node, 2: other})))
    assert there.summary["final_hash"] == run(recipe(tmp_path / "here")).summary["final_hash"]


@pytest.mark.parametrize("method", ["fedavg", "local"])
def test_a_killed_server_goes_on_with_the_nodes_that_it_had(method: str, tmp_path: Path) -> None:
    whole = recipe(tmp_path / "there", method, "rounds=4")
    nodes = parts(3, tmp_path / "sites")
    with pytest.raises(KeyboardInterrupt):
        # In the middle of a round: the nodes have trained, the server has not saved.
        serve(whole, Hall(Loopback(nodes)), [stop_at("cohort", 2)])
    (folder,) = (tmp_path / "there").iterdir()
    result = resume(folder, Hall(Loopback(nodes)))
    straight = run(recipe(tmp_path / "here", method, "rounds=4"))
    assert state_hash(result.folder) == state_hash(straight.folder)
    assert kept([straight.folder]) == kept(list((tmp_path / "sites").iterdir()))
    assert timeless(result.folder)[-1]["summary"]["metrics"] == straight.metrics


def test_nodes_that_are_started_again_find_their_personal_state(tmp_path: Path) -> None:
    whole = recipe(tmp_path / "there", "local", "rounds=4")
    with pytest.raises(KeyboardInterrupt):
        serve(whole, Hall(Loopback(parts(3, tmp_path / "sites"))), [stop_at("round", 1)])
    (folder,) = (tmp_path / "there").iterdir()
    result = resume(folder, Hall(Loopback(parts(3, tmp_path / "sites"))))
    assert result.metrics == run(recipe(tmp_path / "here", "local", "rounds=4")).metrics


def test_a_round_that_came_to_nothing_leaves_no_personal_state_at_the_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three nodes have trained; as in one process, none of it counts, and a killed server still knows."""
    train = Local.train

    def sick(self: Local, cohort: Any, *given: Any, **named: Any) -> Any:
        if cohort.round == 1 and 2 in cohort.clients:
            raise ValueError("the disk is on fire")
        return train(self, cohort, *given, **named)

    sick.__synoptic_task__ = True  # type: ignore[attr-defined]
    monkeypatch.setattr(Local, "train", sick)
    changes = ("rounds=4", "federation.min_replies=3")
    straight = run(recipe(tmp_path / "here", "local", *changes))
    sites = tmp_path / "sites"
    with pytest.raises(KeyboardInterrupt):
        serve(recipe(tmp_path / "there", "local", *changes), Hall(Loopback(parts(3, sites))), [stop_at("round", 2)])
    (folder,) = (tmp_path / "there").iterdir()
    result = resume(folder, Hall(Loopback(parts(3, sites))))
    assert [event["round"] for event in timeless(folder) if event["type"] == "round_failed"] == [1]
    assert kept([straight.folder]) == kept(list(sites.iterdir()))
    assert result.metrics == straight.metrics


def test_a_method_that_pools_data_is_not_for_sites(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="centralized puts all data in one place"):
        serve(recipe(tmp_path, "centralized"), Hall(Loopback({})))


def test_nobody_joins_in_time(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match=r"no node joined within 0.1 s \(none came\); start nodes"):
        serve(recipe(tmp_path), Hall(Loopback({}), patience=0.1))


def test_only_a_served_run_can_be_served_on(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="was not run with nodes"):
        resume(run(recipe(tmp_path, "zeroshot", "rounds=0")).folder, Hall(Loopback({})))


def test_status_says_who_is_there_and_what_failed(tmp_path: Path) -> None:
    nodes = {seat: Node(Site(seats=(seat,), of=3), Policy(), tmp_path / f"{seat}") for seat in (0, 1)}
    nodes[7] = Node(Site(seats=(0,), of=9), Policy(), tmp_path / "x")
    result = serve(recipe(tmp_path, "fedavg", "federation.min_replies=1"), Hall(Loopback(nodes), patience=1, grace=0.1))
    status = read_status(result.folder)
    assert status.headline.startswith("finished, 2 of 2 rounds; nodes as of")
    assert [row[0] for row in status.rows] == ["client-0", "client-1", "client-2"]
    assert [row[4] for row in status.rows] == ["", "", "no node is this client"]
    assert "wants to be of 9 clients, the run has 3" in status.refused[0]
