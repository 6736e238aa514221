"""Whatever trains stacks of LoRA pairs trains a generative model too: every method that can, on questions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tensordict import TensorDict

from asking import asked, asking, asking_bench, questions
from rooms import furthest, play, serve
from runs import stop_at
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import resume, run
from synoptic.federation.personal import PersonalStore
from synoptic.methods.base import load_method, registry
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.local import Local

CLASSES_ONLY = ["feddtl", "kgcoop", "promptfl", "stepmatched"]
ANY = [
    name for name in registry()
    if not (load_method(name).dual_encoder_only or load_method(name).answerer_only or load_method(name).tasks_only)
]  # fmt: skip


def test_who_needs_a_dual_encoder() -> None:
    assert {name for name in registry() if load_method(name).dual_encoder_only} == set(CLASSES_ONLY)
    assert {"fedavg", "fedprox", "local", "centralized", "zeroshot"} <= set(ANY)


@pytest.mark.parametrize("name", ANY)
def test_it_runs_on_questions_and_measures_every_model_it_has(name: str) -> None:
    folder = asked(name)
    summary, about = (read_json(folder / file) for file in ("summary.json", "adapters/about.json"))
    method = load_method(name)(load_recipe(name).method.settings)
    models = {"shared": method.has_shared, "personal": method.has_personal}
    for model, has in models.items():
        splits = {metric.split("/")[1] for metric in summary["metrics"] if metric.startswith(f"{model}/")}
        assert splits == ({"local", "global", "domain"} if has else set())
    assert about["words"] is None
    for metric, value in summary["metrics"].items():
        assert value >= 0 if "/loss/" in metric else 0 <= value <= 1


@pytest.mark.parametrize("kind", [FedAvg, Local])
def test_training_lowers_the_loss_of_answers(kind: type) -> None:
    on = asking_bench(questions(), lr=0.02, epochs=2)
    method = kind()
    model = "personal" if method.has_personal else "shared"
    server = serve(method, on)
    method.begin(server)
    before = evaluate(method, server, True, None).metrics[f"{model}/local/loss/mean"]
    after = evaluate(method, play(method, server, 3), True, None).metrics[f"{model}/local/loss/mean"]
    assert after < before - 0.2


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("tower", ["text", "connector"])
def test_stacked_is_one_by_one(tower: str, cached: bool) -> None:
    adapter = {"text": {"lora": {"rank": 2, "layers": 1}}} | ({"connector": "lora"} if tower == "connector" else {})
    on = asking_bench(questions(), adapter, cached, optimizer="sgd", lr=0.05)
    start = on.new_adapter()
    ends = [play(FedAvg(), serve(FedAvg(), on, stack=stack), 2).state.adapter for stack in (1, 3)]
    assert furthest(ends[0], start) > 1e-3
    assert furthest(*ends) < 1e-5


def test_personal_adapters_do_not_depend_on_the_stack() -> None:
    on = asking_bench(questions(), optimizer="sgd", lr=0.05)
    stores = [PersonalStore(), PersonalStore()]
    for store, stack in zip(stores, (1, 3), strict=True):
        play(Local(), serve(Local(), on, stack=stack, store=store), 2)
    for client in range(3):
        one, three = (store.load(client)["adapter"] for store in stores)
        assert isinstance(one, TensorDict)
        assert isinstance(three, TensorDict)
        assert furthest(one, three) < 1e-5


@pytest.mark.parametrize("name", ["fedavg", "local"])
def test_stop_and_resume_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    whole = read_json(asked(name) / "summary.json")
    with pytest.raises(KeyboardInterrupt):
        run(asking(tmp_path, name), [stop_at("round", 0)])
    (folder,) = tmp_path.iterdir()
    again = resume(folder)
    assert again.summary["final_hash"] == whole["final_hash"]
    assert again.metrics == whole["metrics"]
    assert again.summary["bytes"] == whole["bytes"]


def test_the_centre_holds_everybodys_questions() -> None:
    on = asking_bench(questions(), optimizer="sgd", lr=0.05)
    whole = replace(on, data=replace(on.data, clients=on.data.clients.pooled()))
    assert play(FedAvg(), serve(FedAvg(), whole), 1).work["examples"] == sum(map(len, on.data.clients.train_rows))


@pytest.mark.parametrize("name", CLASSES_ONLY)
def test_what_compares_with_class_names_is_refused_before_anything_is_loaded(name: str) -> None:
    sentence = rf"^{name} needs a dual encoder such as tiny-clip, and data.source=questions asks questions; set another"
    with pytest.raises(SynopticError, match=sentence):
        load_recipe(name, ["data=questions"])


@pytest.mark.parametrize("of", ["classifier", "train_rows", "test_rows", "classification"])
def test_a_task_that_wants_class_names_of_an_answerer_is_told(of: str) -> None:
    with pytest.raises(SynopticError, match=r"needs a dual encoder such as tiny-clip; .*llava answers questions"):
        getattr(asking_bench(questions()), of)
