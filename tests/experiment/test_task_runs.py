"""Data of several tasks through recipe, run, report and what is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rooms import play, serve
from runs import TASKS
from synoptic.adapters.stack import expand, names
from synoptic.core import SynopticError
from synoptic.data.federated import build
from synoptic.data.spec import DataSpec
from synoptic.deploy.site import Site, settle
from synoptic.deploy.terms import terms_of
from synoptic.experiment.comparison.compare import page
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.matrix import Comparison
from synoptic.experiment.comparison.suite import suite_of_words
from synoptic.experiment.comparison.table import tabulate
from synoptic.experiment.delivered import finished, personal, read_about, shared
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import run
from synoptic.methods.base import Method
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.local import Local
from synoptic.models.load import shared_model
from synoptic.models.multitask.saved import read_blocks
from tasking import task_bench


def few(output: Path, method: str, *changes: str) -> Recipe:
    common = ["data=tasks", *TASKS, "rounds=1", "compute.threads=1", "federation.stack=2", f"output={output}"]
    return load_recipe(method, [*common, *changes])


# -- recipes ---------------------------------------------------------------------------------------------------------


def test_both_towers_and_a_backbone_are_adapted_by_default() -> None:
    recipe = load_recipe("fedavg", ["data=tasks"])
    assert recipe.model == "tiny-clip"
    assert recipe.what_is_adapted == Method.tasks_adapter
    assert load_recipe("fedavg", ["data=tasks", "adapter.backbone.rank=8"]).hash != recipe.hash
    assert load_recipe("fedavg", ["data=tasks", "adapter=none"]).hash == recipe.hash
    assert "backbone" not in load_recipe("fedavg").resolved()["adapter"]


@pytest.mark.parametrize(
    ("method", "settings", "sentence"),
    [
        ("promptfl", ["data=tasks"], r"promptfl trains one task for all clients, and data\.source=tasks"),
        ("fedvlm", ["data=tasks"], r"fedvlm trains one task for all clients"),
        ("fedavg", ["adapter.backbone.rank=8"], r"adapter\.backbone lies behind the towers of several tasks"),
        ("fedavg", ["data=tasks", "adapter.backbone.rank=6"], r"backbone\.rank=6 cannot be shared by 4 heads"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_loaded(method: str, settings: list[str], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        load_recipe(method, settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["adapter.text=prompt"], r"adapter\.text asks for more than LoRA of the towers"),
        (["model=tiny-vlm"], "data of several tasks need a dual encoder, and tiny-vlm answers questions"),
    ],
)
def test_what_does_not_fit_the_base_is_told_before_there_is_a_folder(
    tmp_path: Path, settings: list[str], sentence: str
) -> None:
    with pytest.raises(SynopticError, match=sentence):
        run(few(tmp_path, "fedavg", *settings))
    assert not list(tmp_path.iterdir())


# -- evaluation ------------------------------------------------------------------------------------------------------


def test_every_task_is_counted_over_the_clients_who_have_it() -> None:
    on = task_bench(archetypes=[("shapes",), ("pictures",), ("shapes", "pictures")], groups=2)
    assert on.tasking is not None
    method = Local()
    store_server = play(method, serve(method, on), 1)
    result = evaluate(method, store_server, True, None)
    each = [client["personal/local/pictures/error"] for client in result.clients.values()
            if "personal/local/pictures/error" in client]  # fmt: skip
    assert len(each) == 4
    assert result.metrics["personal/local/pictures/error/mean"] == pytest.approx(np.mean(each))
    assert result.metrics["personal/local/pictures/error/worst"] == pytest.approx(max(each)), "the worst error is high"
    assert not any(name.startswith(("shared/", "personal/local/accuracy")) for name in result.metrics)
    assert [client["examples"] for client in result.clients.values()] == [4, 4, 8, 4, 4, 8]


def test_the_shared_model_of_a_client_is_that_of_everybody() -> None:
    on = task_bench()
    method = FedAvg()
    server = play(method, serve(method, on), 1)
    metrics = evaluate(method, server, True, None).metrics
    stack = expand(server.state.adapter, 1)
    for name in ("shapes", "colours"):
        rows = [on.data.local_rows(client, f"local/{name}") for client in range(3)]
        each = [float(on.problem.score(stack, some, f"local/{name}")["accuracy"].mean()) for some in rows if len(some)]
        assert len(each) == 2
        assert metrics[f"shared/local/{name}/accuracy/mean"] == pytest.approx(np.mean(each))


def test_skill_is_zero_for_not_looking_and_one_for_perfect() -> None:
    on = task_bench(archetypes=[("shapes", "pictures")])
    assert on.tasking is not None
    tasking, words = on.tasking, on.data.test.words
    assert words is not None
    rows = on.data.tests["domain/shapes"]
    answers = [words.answers[row] for row in rows]
    assert tasking.blind["shapes"] == max(answers.count(answer) for answer in answers) / len(answers)
    pixels = tasking.test_rows.pixels(on.data.tests["domain/pictures"])
    assert tasking.blind["pictures"] == pytest.approx(float(pixels.var(0, correction=0).mean()), rel=1e-5)
    for name, perfect in (("shapes", 1.0), ("pictures", 0.0)):
        assert tasking.skill(name, tasking.blind[name]) == pytest.approx(0)
        assert tasking.skill(name, perfect) == pytest.approx(1)


def test_a_modality_that_is_missing_at_evaluation_is_told() -> None:
    on = task_bench()
    assert on.tasking is not None
    worn = {name: tensor[None] for name, tensor in on.new_adapter([1]).items()}
    pixels = torch.zeros(1, 3, 32, 32)
    with pytest.raises(SynopticError, match="task 'colours' reads text, and text is missing"):
        on.tasking.model.read(worn, "colours", pixels=pixels)


# -- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_leaves_blocks_and_says_which_tasks_they_are_for(tmp_path: Path) -> None:
    folder = run(few(tmp_path, "tap")).folder
    record = finished(folder)
    about = read_about(record)
    assert [task.name for task in about.tasks] == ["shapes", "colours"]
    everybody = shared(record, about)
    assert everybody is not None
    assert everybody.in_blocks
    one, note = read_blocks(everybody.folder)
    assert {name.partition("/")[0] for name in names(one)} == {"encoder", "expert", "head", "mome", "mote"}
    assert note.fingerprint == record.summary["model"]["fingerprint"]
    assert note.tasks == about.tasks
    own, note = read_blocks(personal(record, about, "0").folder)
    assert [task.name for task in note.tasks] == ["shapes"]
    assert "head/shapes/weight" in names(own)
    assert "head/colours/weight" not in names(own)


def test_blocks_that_suffice_for_no_task_are_kept_and_say_so(tmp_path: Path) -> None:
    folder = run(few(tmp_path, "fedper")).folder
    about = read_about(finished(folder))
    assert not about.shared, "heads are personal, and without them nobody can do anything"
    assert len(about.personal) == 3


def test_one_client_with_all_tasks_is_the_ceiling(tmp_path: Path) -> None:
    result = run(few(tmp_path, "centralized"))
    assert {"shared/local/shapes/accuracy/mean", "shared/local/skill/mean"} <= set(result.metrics)
    assert result.summary["work"]["examples"] == 32


def test_a_site_cannot_bring_data_of_one_task(tmp_path: Path) -> None:
    recipe = few(tmp_path, "fedavg")
    base = shared_model(recipe.model, recipe.compute.base_dtype).fingerprint
    offered = terms_of(recipe, build(recipe.data, recipe.seed), base, "run", 0, 2**24)
    with pytest.raises(SynopticError, match="the run gives sites different tasks, and a site's own data are of one"):
        settle(Site(data=DataSpec(source="digits", clients=1)), offered.model_copy(update={"seats": (0,)}))
    whole = settle(Site(), offered.model_copy(update={"seats": (0,)}))
    assert whole.bench.data.kinds([0]) == {("shapes",): [0]}


def test_a_table_shows_skill_for_tasks(tmp_path: Path) -> None:
    groups = [Group(method, (finished(run(few(tmp_path, method)).folder),)) for method in ("fedavg", "local")]
    table = tabulate(groups)
    assert {"skill", "worst task"} <= {column.name for column in table.columns}
    assert "local" not in {column.name for column in table.columns}, "accuracies of different tasks have no mean"
    result = Comparison(suite_of_words(["fedavg", "local"]), tuple(groups), ())
    assert [table.title for table in result.tables()] == ["", "On own test data", "On all clients' test data"]
    text = page(result)
    assert text.index("worst task") < text.index("**On own test data**") < text.index("**On all clients' test data**")
    assert text.count("* Seeds ") == 1
