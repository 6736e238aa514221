"""A newcomer of a finished run: what it is given stays, what clients have for themselves it trains."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from asking import asked
from finished import finished
from rooms import same
from runs import small, stop_at
from synoptic import cli
from synoptic.adapters.peft_io import import_peft
from synoptic.adapters.slots import slot_of
from synoptic.adapters.stack import names, size_bytes
from synoptic.core import SynopticError
from synoptic.core.files import digest, read_json
from synoptic.experiment.checkpoint import load_checkpoint
from synoptic.experiment.newcomer import newcomer_recipe
from synoptic.experiment.onboard import onboard
from synoptic.experiment.onboarded import RESULT, Onboarded
from synoptic.experiment.perform import tasks_of
from synoptic.experiment.predict import predict
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.records import RunRecord, read_run
from synoptic.experiment.runner import run
from synoptic.federation.message import decode
from synoptic.methods.fedvlm_rules import part
from synoptic.models.multitask.saved import read_blocks

DATA = ["data.train_limit=40", "data.test_limit=30"]
LR = "train.lr=0.02"


def joined(path: Path, out: Path, *settings: str, data: list[str] = DATA) -> TensorDict:
    """The newcomer's adapter."""
    onboard(path, [*data, *settings], out)
    return import_peft(out)


def state(path: Path) -> dict[str, Any]:
    """The server's state at the end of a run."""
    return decode(load_checkpoint(sorted((path / "checkpoints").iterdir())[-1])[0])


def content(path: Path) -> str:
    return digest(*(part for file in sorted(path.rglob("*")) if file.is_file() and file.name != ".lock"
                    for part in (str(file), file.read_bytes())))  # fmt: skip


@pytest.mark.parametrize(("rule", "shares", "own"), [("plora", "B", "A"), ("fedsa", "A", "B")])
def test_what_is_shared_stays_and_the_rest_is_trained(tmp_path: Path, rule: str, shares: str, own: str) -> None:
    path = finished("fedvlm", f"method.rule={rule}", LR)
    before, given = content(path), state(path)["shared"]
    one, first = joined(path, tmp_path / "new"), import_peft(path / "adapters/personal/client-0")
    assert content(path) == before, "the run is left as it was"
    assert all(torch.equal(one[name], given[name]) for name in names(part(one, {shares})))
    assert not any(torch.equal(one[name], first[name]) for name in names(part(one, {own})))
    assert read_json(tmp_path / "new" / RESULT)["what"] == f"{own} of its own"


def test_it_trains_as_long_as_others_did_in_all_rounds_unless_told(tmp_path: Path) -> None:
    path = finished("fedvlm", LR)
    assert onboard(path, DATA, tmp_path / "as long").steps == 2 * 5, "two rounds of 40 examples in batches of 8"
    assert onboard(path, [*DATA, "train.steps=3"], tmp_path / "steps").steps == 3
    assert onboard(path, [*DATA, "train.epochs=1"], tmp_path / "epochs").steps == 5


def test_where_nobody_has_anything_of_his_own_a_copy_is_trained(tmp_path: Path) -> None:
    for number, changes in enumerate([("fedavg",), ("fedvlm", "method.rule=fedavg"), ("promptfl",)]):
        path = finished(*changes, LR)
        given = import_peft(path / "adapters/shared")
        one = joined(path, tmp_path / str(number))
        moved = [name for name in names(one) if not torch.equal(one[name], given[name])]
        assert moved == [name for name in names(one) if not name.endswith("/scale")]
        assert read_json(tmp_path / str(number) / RESULT)["what"] == "a copy of the shared adapter"


def test_what_was_merged_stays(tmp_path: Path) -> None:
    path = finished("fedvlm", "method.rule=fedex", LR)
    given, one = import_peft(path / "adapters/shared"), joined(path, tmp_path / "new")
    merged = [name for name in names(given) if slot_of(name) is not None]
    assert merged
    assert all(torch.equal(one[name], given[name]) for name in merged)
    done = read_json(tmp_path / "new" / RESULT)
    assert done["measures"]["fitted"]["loss"] < done["measures"]["given"]["loss"]


def test_a_pair_of_its_own_beside_the_shared_one(tmp_path: Path) -> None:
    path = finished("dual", "method.gate=0.5", LR)
    one = joined(path, tmp_path / "new")
    shared = state(path)["adapter"]
    assert one.batch_size == torch.Size([])
    assert len(names(one)) > len(names(shared))
    assert read_json(tmp_path / "new" / RESULT)["what"] == "A and B of its own"


def test_a_newcomer_who_is_asked_questions(tmp_path: Path) -> None:
    done = onboard(asked("fedvlm"), ["data.questions.draw=3", LR], tmp_path / "new")
    assert list(done.measures) == ["base", "given", "fitted"]
    assert done.measures["fitted"]["loss"] < done.measures["given"]["loss"]
    assert (done.client, done.examples, done.tests) == ("client-0", 18, 8)
    text = (tmp_path / "new/README.md").read_text()
    assert "adapter of a newcomer" in text
    assert "client-0" not in text
    assert "client-0" not in (tmp_path / "new" / RESULT).read_text()


TASKED = ["data=tasks", "train.lr=0.004"]


def of_tasks(path: Path, out: Path, *settings: str) -> tuple[Onboarded, TensorDict]:
    done = onboard(path, ["data.tasks.draw=3", *settings], out)
    return done, read_blocks(out)[0]


@pytest.mark.parametrize("method", ["fedavg", "tap", "finetune", "ditto", "perfedavg", "disentafl"])
def test_a_newcomer_takes_the_blocks_of_its_tasks(tmp_path: Path, method: str) -> None:
    path = finished(method, *TASKED)
    given, _ = read_blocks(path / "adapters/shared")
    done, one = of_tasks(path, tmp_path / "new", "data.tasks.archetypes=[[shapes]]", "train.lr=1e-9")
    assert set(names(one)) < set(names(given))
    assert all(torch.allclose(one[name], given[name], atol=1e-6) for name in names(one)), "hardly trained"
    assert done.bytes_down == size_bytes(one)
    assert list(done.measures) == ["given", "fitted"], "without blocks there is no head"
    assert list(done.measures["given"]) == ["shapes accuracy", "shapes loss"]
    assert [task.name for task in tasks_of(tmp_path / "new")] == ["shapes"]


def test_a_newcomer_may_have_a_task_that_nobody_had(tmp_path: Path) -> None:
    path = finished("tap", *TASKED)
    given, _ = read_blocks(path / "adapters/shared")
    own = "data.tasks.own=[{name: digits, kind: classify, source: digits}]"
    done, one = of_tasks(path, tmp_path / "new", own)
    assert any(name.startswith("head/digits/") for name in names(one))
    assert not any(name.startswith("head/digits/") for name in names(given))
    assert any(name.startswith("encoder/") for name in names(one))
    assert done.bytes_down == size_bytes(one.select(*(name for name in names(one) if name in names(given))))
    assert done.measures["fitted"]["digits loss"] < done.measures["given"]["digits loss"]
    assert "| `digits` | image | one of 10 labels" in (tmp_path / "new/README.md").read_text()


def test_heads_of_its_own_where_everybody_has_his_own(tmp_path: Path) -> None:
    path = finished("fedper", *TASKED)
    shared = state(path)["adapter"]
    done, one = of_tasks(path, tmp_path / "new", "data.tasks.archetypes=[[shapes]]")
    assert done.what == "head/shapes, of its own"
    assert all(torch.equal(one[name], shared[name]) for name in names(one) if not name.startswith("head/"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["data.tasks.own=[{name: shapes, kind: classify, source: digits}]"],
            r"two tasks are called 'shapes' and differ in labels: \(circle, .*\), and \(zero, ",
        ),
        (["data=digits"], r"the run has several tasks and the newcomer one; name .* with data\.tasks\.own"),
        (["data.tasks.draw=1"], "these data have several clients; choose with --client"),
    ],
)
def test_tasks_that_do_not_fit_are_told(tmp_path: Path, settings: list[str], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        onboard(finished("tap", *TASKED), settings, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_several_tasks_for_a_run_of_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="the newcomer has several tasks and the run one"):
        onboard(finished("fedavg", LR), ["data=tasks"], tmp_path / "new")


def test_the_folder_is_used_as_an_exported_one(tmp_path: Path) -> None:
    from PIL import Image

    joined(finished("fedvlm", LR), tmp_path / "new")
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    (found,) = predict(tmp_path / "new", [tmp_path / "black.png"]).images
    assert len(found.top) == 3


def test_one_of_several_clients_is_the_newcomer(tmp_path: Path) -> None:
    path, several = finished("fedvlm", LR), [*DATA, "data.clients=4"]
    with pytest.raises(SynopticError, match=r"several clients; choose with --client among 4: client-0, client-1"):
        onboard(path, several, tmp_path / "none")
    with pytest.raises(SynopticError, match=r"no client '4'; choose among 4"):
        onboard(path, several, tmp_path / "none", "4")
    names_ = [onboard(path, several, tmp_path / client, client).client for client in ("client-2", "3")]
    assert names_ == ["client-2", "client-3"]
    assert not (tmp_path / "none").exists()


def test_a_newcomer_needs_nothing_of_other_clients(tmp_path: Path) -> None:
    path, copy = finished("fedvlm", LR), tmp_path / "copy"
    for file in ("recipe.yaml", "summary.json", "adapters/about.json"):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path / file, copy / file)
    shutil.copytree(path / "checkpoints", copy / "checkpoints")
    assert same(joined(copy, tmp_path / "one"), joined(path, tmp_path / "two"))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            ("local",),
            "a run of local gives a newcomer nothing to begin with; take a run of centralized, disentafl, ditto, dual",
        ),
        (("zeroshot",), "a run of zeroshot gives a newcomer nothing"),
        (("adaptive",), "a run of adaptive gives a newcomer nothing"),
        (("fedvlm", "method.rule=local"), "a run of fedvlm method.rule=local gives .*, stepmatched or tap"),
        (("reward_model", "model=tiny-clip", "method.federate=average"), "reward models have no place for a newcomer"),
    ],
)
def test_runs_that_give_nothing_are_refused(tmp_path: Path, method: tuple[str, ...], said: str) -> None:
    with pytest.raises(SynopticError, match=said):
        onboard(finished(*method), DATA, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "nothing says which data the newcomer has; name them, such as data=folder:PATH or data.path=PATH"),
        (["train.lr=1"], "nothing says which data"),
        ([*DATA, "rounds=3"], "rounds is the run's, and a newcomer takes it as it is; change keys of data or train"),
        ([*DATA, "adapter.vision=head"], "adapter.vision is the run's"),
        (["data.trian_limit=3"], "recipe key 'data.trian_limit' does not exist; did you mean 'data.train_limit'"),
        (["data"], "'data' is no setting"),
        (["data=questions"], "answers questions|asks questions"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: list[str], said: str) -> None:
    with pytest.raises(SynopticError, match=said):
        onboard(finished("fedvlm", LR), settings, tmp_path / "new")


def test_a_run_that_is_not_finished_and_a_place_in_use(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path / "stopped", "fedvlm"), [stop_at("round", 0)])
    (path,) = (tmp_path / "stopped").iterdir()
    with pytest.raises(SynopticError, match="is not finished; go on with it"):
        onboard(path, DATA, tmp_path / "new")
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(SynopticError, match="exists already; remove it or set --out to another folder"):
        onboard(finished("fedvlm", LR), DATA, tmp_path / "used")


def described(*settings: str) -> RunRecord:
    """A run of this recipe, as far as a newcomer's recipe looks at it."""
    recipe = load_recipe("fedvlm", settings).resolved()
    return RunRecord(read_run(finished("fedvlm", LR)).folder, recipe, "finished", {"rounds": 3})


def test_data_of_the_same_kind_keep_columns_and_not_who_holds_what() -> None:
    table = described("data=parquet:ours.parquet", "data.test_path=held.parquet", "data.label=kind", "data.clients=9",
                      "data.partition=dirichlet", "data.train_limit=50", "data.template=an {}")  # fmt: skip
    data = newcomer_recipe(table, ["data.path=theirs.parquet"]).data
    assert (data.path, data.test_path, data.label, data.template) == ("theirs.parquet", None, "kind", "an {}")
    assert (data.clients, data.partition.kind, data.train_limit) == (1, "iid", None)
    assert newcomer_recipe(table, ["data=parquet:theirs.parquet"]).data == data
    held = newcomer_recipe(table, ["data.path=theirs.parquet", "data.clients=4"]).data
    assert (held.clients, held.partition.kind) == (4, "dirichlet")
    other = newcomer_recipe(table, ["data=folder:pets"]).data
    assert (other.source, other.path, other.label, other.clients, other.template) == (
        "folder",
        "pets",
        "label",
        1,
        None,
    )


def test_the_rate_is_that_of_the_first_round() -> None:
    train = newcomer_recipe(described("train.schedule=cosine", "train.warmup=2", "train.steps=4"), DATA).train
    assert (train.schedule, train.warmup, train.steps) == ("constant", 0, 12)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)
    path = finished("fedvlm", LR)
    assert cli.main(["onboard", str(path), *DATA, "train.steps=2"]) == 0
    out = capsys.readouterr().out
    assert "client-0: 40 training and 21 test examples" in out
    assert "trained A of its own in 2 steps" in out
    assert all(len(line) <= 60 for line in out.splitlines() if "onboard" not in line)
    assert f"written: {path.name}-onboard" in out
    assert (tmp_path / f"{path.name}-onboard/adapter_model.safetensors").exists()
    assert cli.main(["onboard", str(path), "data.clients=2"]) == 2
    assert "choose with --client" in capsys.readouterr().err
