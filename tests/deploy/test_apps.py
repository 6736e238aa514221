from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import stock
from runs import SMALL, small
from synoptic import __version__
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.deploy import apps, bundle, flower
from synoptic.deploy.apps import configured, server_app
from synoptic.deploy.envelope import Ask, pack_ask, read_answer
from synoptic.deploy.grid import GridPost
from synoptic.deploy.session import Hall, serve
from synoptic.deploy.terms import ABOUT, HELLO, Wish
from synoptic.experiment.runner import run

TABLE = tomllib.loads((bundle.FOLDER / "pyproject.toml").read_text())


def post(grid: stock.Grid) -> GridPost:
    return GridPost(grid, Hall.largest)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a request in this process."""
    monkeypatch.setattr("synoptic.deploy.grid.LOOK", 0.0)


@pytest.mark.parametrize("method", ["fedavg", "local"])
def test_nodes_that_forget_everything_but_their_folder_end_where_one_process_does(method: str, tmp_path: Path) -> None:
    settings = ("federation.stack=1", "rounds=2")
    here = run(small(tmp_path / "here", method, *settings))
    grid = stock.Grid(stock.parts(3, tmp_path))
    there = serve(small(tmp_path / "there", method, *settings), Hall(post(grid)))
    # A server's hash has no personal state in it; that of a client shows in its metrics.
    same = ("metrics", "bytes", "work", *(["final_hash"] if method == "fedavg" else []))
    assert {key: here.summary[key] for key in same} == {key: there.summary[key] for key in same}


def test_flwr_run_s_server_app_runs_a_recipe_and_goes_on_with_it(tmp_path: Path) -> None:
    settings = [*SMALL, "federation.stack=1", "rounds=1", f"output={tmp_path / 'runs'}"]
    config = TABLE["tool"]["flwr"]["app"]["config"] | {"recipe": "fedavg", "settings": " ".join(settings)}
    grid = stock.Grid(stock.parts(3, tmp_path))
    context = flower.Context(stock.RUN, 0, {}, flower.RecordDict(), config)
    server_app(grid=grid, context=context)  # type: ignore[arg-type]
    (folder,) = (tmp_path / "runs").iterdir()
    assert read_json(folder / "summary.json")["rounds"] == 1
    context.run_config["resume"] = str(tmp_path / "nowhere")
    with pytest.raises(SynopticError, match="there is no run folder"):
        server_app(grid=grid, context=context)  # type: ignore[arg-type]


def test_the_bundle_names_objects_that_exist_and_holds_no_code() -> None:
    components = TABLE["tool"]["flwr"]["app"]["components"]
    assert all(getattr(apps, name.removeprefix("synoptic.deploy.apps:")) for name in components.values())
    publisher, project = TABLE["tool"]["flwr"]["app"]["publisher"], TABLE["project"]
    assert (f"{publisher}/{project['name']}", project["version"]) == (bundle.NAME, bundle.VERSION)
    assert [path.name for path in bundle.FOLDER.iterdir()] == ["pyproject.toml"]
    first, second = bundle.make_bundle(), bundle.make_bundle()
    assert first.content == second.content and b".py" not in first.content.replace(b".pyproject", b"")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "names no data"),
        ({"partition": 1}, "has no 'partition'; did you mean 'partition-id'"),
        ({"partition-id": 0}, "names no data"),
        ({"data": "folder:/x", "settings": "train.lr=1"}, "is the server's to say"),
        ({"data": "digits", "policy": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_a_node_that_is_not_described_says_so_to_both_sides(
    config: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SynopticError, match=why):
        configured(config)
    assert why in refusal(config)


def refusal(config: dict[str, Any], seconds: float = 60.0) -> str:
    """What a node of this configuration says to hello."""
    letter = pack_ask(Ask(ask="a", session="s", task=HELLO), {ABOUT: ""}, ())
    reply = apps.answered(flower.new_message(stock.RUN, 1, letter, seconds), config)
    return read_answer(reply, "a")[0].refusal


def test_a_configuration_is_a_site(tmp_path: Path) -> None:
    rules = tmp_path / "policy.yaml"
    rules.write_text("max_rounds: 3\n")
    site, policy, state = configured({"data": "digits", "settings": "data.train_limit=20", "policy": str(rules),
                                      "state": str(tmp_path / "s"), "model": "tiny-clip"})  # fmt: skip
    assert site.data is not None and (site.data.train_limit, site.data.clients) == (20, 1)
    assert (policy.max_rounds, state, site.model) == (3, tmp_path / "s", "tiny-clip")
    assert configured({"partition-id": 2, "num-partitions": 3})[0].wish == Wish(version=__version__, seats=(2,), of=3)
    assert configured({"partition-id": 2, "num-partitions": 3})[2] != configured({"data": "digits"})[2]


def test_one_letter_is_worked_on_at_a_time(tmp_path: Path) -> None:
    config = {"partition-id": 0, "num-partitions": 3, "state": str(tmp_path)}
    assert refusal(config) == ""
    with FileLock(tmp_path / "lock"):
        started = time.monotonic()
        assert "still worked on an earlier question" in refusal(config, 0.3)
        assert time.monotonic() - started < 30


def test_the_terms_of_few_servers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synoptic.deploy.node.REMEMBERED", 1)
    for _ in range(2):
        grid = stock.Grid(stock.parts(3, tmp_path / "sites"))
        serve(small(tmp_path / "runs", "zeroshot", "rounds=0"), Hall(post(grid)))
    assert len(list((tmp_path / "sites" / "0" / "begun").iterdir())) == 1


def test_what_is_no_letter_is_a_reason(tmp_path: Path) -> None:
    grid = stock.Grid(stock.parts(1, tmp_path))
    sending = post(grid)
    (ticket,) = sending.send([(1, b"noise")], 30.0)
    (arrived,) = sending.collect([ticket])
    assert arrived.content is not None and "damaged" in read_answer(arrived.content, "a")[0].refusal
    (ticket,) = sending.send([(1, b"noise")], 30.0)
    (arrived,) = GridPost(grid, 10).collect([ticket])
    assert arrived.content is None and "at most 10 are taken" in arrived.reason
