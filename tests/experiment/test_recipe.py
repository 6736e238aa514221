from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from synoptic.adapters.spec import AdapterSpec
from synoptic.core import Section, SynopticError
from synoptic.data import DataSpec, QuestionSpec
from synoptic.experiment.catalogue import methods_table
from synoptic.experiment.help import key_groups
from synoptic.experiment.keys import allowed, keys
from synoptic.experiment.recipe import Recipe, load_recipe, read_recipe
from synoptic.methods import base
from synoptic.methods.base import Method


class Strange(base.Method):
    """A method from elsewhere, with settings and defaults of its own."""

    class Settings(Section):
        strength: float = 0.5

    summary = "strange"
    adapter = AdapterSpec.model_validate({"vision": {"head": True}, "text": "prompt"})
    defaults: ClassVar[dict[str, Any]] = {"train.lr": 0.25, "rounds": 3, "data": "world"}


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = base.load_method
    monkeypatch.setattr(base, "load_method", lambda name: Strange if name == "strange" else loaded(name))


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problem(what: str | Path, *overrides: str, **keywords: Any) -> str:
    with pytest.raises(SynopticError) as caught:
        load_recipe(what, overrides, **keywords)
    return str(caught.value)


# -- layers ---------------------------------------------------------------------------------------------------------


def test_a_method_name_is_a_recipe() -> None:
    recipe = load_recipe("fedprox", ["method.mu=0.1", "data=world", "train.lr=1e-2"], rounds=4, data={"clients": 3})
    assert recipe.method.model_dump() == {"name": "fedprox", "mean": "factor", "mu": 0.1}
    assert (recipe.data.source, recipe.data.clients, recipe.train.lr, recipe.rounds) == ("world", 3, 0.01, 4)


def test_the_method_lies_below_the_file_below_the_command_line_below_python(strange: None, tmp_path: Path) -> None:
    path = write(tmp_path, "method: strange\ntrain: {lr: 0.5, epochs: 2}\n")
    assert load_recipe("strange").train.lr == 0.25
    assert load_recipe(path).train.lr == 0.5
    assert load_recipe(path, ["train.lr=1"]).train.lr == 1
    recipe = load_recipe(path, ["train.lr=1"], train={"lr": 2.0})
    assert (recipe.train.lr, recipe.train.epochs, recipe.rounds, recipe.data.source) == (2, 2, 3, "world")


def test_part_of_an_adapter_goes_onto_the_method_s_own(strange: None) -> None:
    assert load_recipe("strange").what_is_adapted == Strange.adapter
    recipe = load_recipe("strange", ["adapter.text.prompt=9"])
    assert recipe.what_is_adapted.vision.head
    assert recipe.what_is_adapted.text.prompt is not None
    assert recipe.what_is_adapted.text.prompt.length == 9
    assert load_recipe("strange", ["adapter.vision=frozen"]).what_is_adapted.vision.frozen
    assert load_recipe("strange", ["adapter=none"]).what_is_adapted == Strange.adapter


def test_another_method_takes_its_own_settings_along(tmp_path: Path) -> None:
    path = write(tmp_path, "method: {name: fedprox, mu: 0.5}\n")
    recipe = load_recipe(path, ["method=fedavg"])
    assert recipe.method.settings == base.load_method("fedavg").Settings()


def test_a_recipe_can_be_made_without_a_file() -> None:
    assert Recipe(method="fedavg", data="world", rounds=10) == load_recipe("fedavg", data="world").model_copy(
        update={"adapter": None}
    )


# -- what a run writes ----------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["rounds=7", "data=world", "data.partition=dirichlet", "data.classes=[a b, c]",
                                 "method.mu=0.3", "adapter.text=prompt", "adapter.vision.lora.layers=[0, 1]",
                                 "train.clip_norm=1", "train.betas=[0.8, 0.9]", "seed=9", "evaluate.every=0",
                                 "compute.threads=2", "federation.stack=4", "data.template=the {}: so"]),
                unique=True))  # fmt: skip
def test_a_resolved_recipe_is_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    recipe = load_recipe("fedprox", texts)
    path = write(tmp_path_factory.mktemp("run"), recipe.to_yaml(), "recipe.yaml")
    again = read_recipe(path)
    assert again == recipe
    assert again.hash == recipe.hash


def test_a_resolved_recipe_leaves_nothing_to_defaults(tmp_path: Path) -> None:
    content = yaml.safe_load(load_recipe("promptfl").to_yaml())
    named = {key.name for key in keys(Recipe)} - {"method.name", "method.settings"}
    # What only questions have is not said of classes, so their recipes read and hash as they always did.
    of_questions = (
        "data.question",
        "data.instruction",
        "data.answer",
        "data.rejected",
        "data.group",
        "data.public",
        "data.wrong",
        "adapter.connector",
        "adapter.backbone",
        "data.tasks",
    )
    for name in named:
        if name.startswith(of_questions):
            assert name.split(".")[1] not in content[name.split(".")[0]]
            continue
        value = content
        for part in name.split("."):
            if value is None:
                break
            assert part in value, name
            value = value[part]
    assert content["method"] == {"name": "promptfl", "mean": "factor"}
    assert content["adapter"]["text"]["prompt"] == {"length": 4}


def test_the_hash_is_about_what_is_run() -> None:
    one = load_recipe("fedavg").hash
    assert len(one) == 16
    assert int(one, 16) >= 0
    assert load_recipe("fedavg", ["seed=5", "output=elsewhere", "keep=9"]).hash == one
    assert load_recipe("fedavg", ["adapter=none"]).hash == one
    for other in ("rounds=11", "train.lr=0.01", "method.mean=product", "data.clients=6", "compute.base_dtype=bfloat16"):
        assert load_recipe("fedavg", [other]).hash != one
    assert load_recipe("fedprox", ["method.mu=0"]).hash != one


def test_questions_have_a_base_and_an_adapter_of_their_own(strange: None) -> None:
    recipe = load_recipe("fedavg", ["data=questions"])
    assert recipe.model == "tiny-vlm"
    assert recipe.what_is_adapted == Method.answerer_adapter == AdapterSpec.model_validate({"text": "lora"})
    assert load_recipe("fedavg", ["data=questions", "adapter=none"]).hash == recipe.hash
    own = load_recipe("fedavg", ["data=questions", "adapter.text.lora.rank=2", "adapter.connector=lora", "model=x/y"])
    assert (own.model, own.what_is_adapted.text.lora.rank, own.what_is_adapted.connector.lora.rank) == ("x/y", 2, 4)  # type: ignore[union-attr]
    assert own.what_is_adapted.vision.frozen
    of_files = load_recipe("fedavg", ["data=hub:some/where", "data.question=ask"])
    assert of_files.model == "tiny-vlm"
    classes = load_recipe("fedavg", ["data=world"])
    assert (classes.model, classes.what_is_adapted.vision.lora is None) == ("tiny-clip", False)
    again = yaml.safe_load(own.to_yaml())
    assert set(again["data"]["questions"]) == set(QuestionSpec.model_fields) - {"tastes", "public", "public_test"}
    assert again["adapter"]["connector"]["lora"] == {"rank": 4, "alpha": None}


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("data.partion=iid", "recipe key 'data.partion' does not exist; did you mean 'data.partition'?"),
        ("alpha=0.1", "recipe key 'alpha' does not exist; did you mean 'data.partition.alpha'?"),
        ("method.muu=1", "recipe key 'method.muu' does not exist; did you mean 'method.mu'?"),
        ("method.zzz=1", "recipe key 'method.zzz' does not exist; choose one of: mean, mu."),
        ("evaluate.zzz=1", "recipe key 'evaluate.zzz' does not exist; choose one of: clients, every, personal."),
        ("rounds=many", "recipe key 'rounds' cannot be 'many'; use a whole number, at least 0."),
        ("rounds=-1", "recipe key 'rounds' cannot be -1; use a whole number, at least 0."),
        ("train.lr=0", "recipe key 'train.lr' cannot be 0; use a number, more than 0."),
        ("train.momentum=1", "recipe key 'train.momentum' cannot be 1; use a number, at least 0 and less than 1."),
        ("train.betas=[1]", "recipe key 'train.betas' cannot be [1]; use a list of 2 numbers such as [0.9, 0.99]."),
        ("train.optimizer=lion", "recipe key 'train.optimizer' cannot be 'lion'; use adamw or sgd."),
        ("train.schedule=step",
         "recipe key 'train.schedule' cannot be 'step'; use one of: constant, linear, cosine."),
        ("compute.threads=0", "recipe key 'compute.threads' cannot be 0; use a whole number, at least 1, or auto."),
        ("compute.cache=maybe", "recipe key 'compute.cache' cannot be 'maybe'; use true or false."),
        ("compute.cache_memory=much",
         "recipe key 'compute.cache_memory': 'much' is not a size; write it like 500MB or 2GiB."),
        ("data.classes=lots",
         "recipe key 'data.classes' cannot be 'lots'; use a whole number, or a list of words such as [a, b], or none."),
        ("data.clients=0", "recipe key 'data.clients' cannot be 0; use a whole number, at least 1, or none."),
        ("model=3", "recipe key 'model' cannot be 3; use a word (a number needs quotes)."),
        ("adapter.vision=lorra",
         "recipe key 'adapter.vision': 'lorra' is no way to adapt a tower; choose one of: frozen, lora, prompt, head."),
        ("adapter.vision.lora.targets=[x]",
         "recipe key 'adapter.vision.lora.targets' cannot be ['x']; "
         "use a list of some of: q, k, v, o, fc1, fc2, gate."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(setting: str, sentence: str) -> None:
    assert problem("fedprox", setting) == sentence


def test_all_mistakes_are_told_at_once() -> None:
    assert problem("fedprox", "method.muu=1", "rounds=many", "data.partion=iid").splitlines() == [
        "recipe key 'method.muu' does not exist; did you mean 'method.mu'?",
        "recipe key 'data.partion' does not exist; did you mean 'data.partition'?",
        "recipe key 'rounds' cannot be 'many'; use a whole number, at least 0.",
    ]


def test_mistakes_in_a_file_have_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "method:\n  name: fedprox\n  muu: 1\nrounds: many\ntrain:\n  lr: 0\n")
    assert problem(path).splitlines() == [
        f"{path}, line 3: recipe key 'method.muu' does not exist; did you mean 'method.mu'?",
        f"{path}, line 6: recipe key 'train.lr' cannot be 0; use a number, more than 0.",
        f"{path}, line 4: recipe key 'rounds' cannot be 'many'; use a whole number, at least 0.",
    ]
    # What the command line says is not blamed on the file.
    assert problem(path, "rounds=few", "train.lr=1", "method=fedavg") == (
        "recipe key 'rounds' cannot be 'few'; use a whole number, at least 0."
    )


def test_what_is_no_method_and_no_file(tmp_path: Path) -> None:
    assert "there is no method called 'fedavgg'; did you mean 'fedavg'?" in problem("fedavgg")
    assert problem("recipes/x.yaml").startswith("there is no recipe file recipes/x.yaml;")
    assert problem("some/where").startswith("there is no recipe file some/where;")
    assert "is a folder, not a recipe" in problem(str(tmp_path))
    assert problem(write(tmp_path, "rounds: 3\n")).startswith("the recipe names no method; add method=NAME")


def test_a_method_from_elsewhere_that_takes_no_settings(strange: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Strange, "Settings", type("Settings", (Section,), {}))
    assert problem("strange", "method.mu=1") == "recipe key 'method.mu' does not exist; there are none here."


# -- paths ----------------------------------------------------------------------------------------------------------


def test_data_are_looked_for_here_and_then_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    path = write(there, "method: fedavg\ndata: {source: parquet, path: shop}\n", "x.yaml")
    here.mkdir()
    monkeypatch.chdir(here)
    assert load_recipe(path).data.path == "shop"
    (there / "shop").mkdir()
    assert load_recipe(path).data.path == str(there / "shop")
    assert load_recipe("../there/x.yaml", ["data.path=shop/*.parquet"]).data.path == f"{there}/shop/*.parquet"
    (here / "shop").mkdir()
    assert load_recipe(path).data.path == str(here / "shop")
    assert load_recipe("fedavg", ["data=folder:shop"]).data.path == str(here / "shop")
    assert load_recipe("fedavg", ["data=hub:shop/x"]).data.path == "shop/x"


def test_a_model_folder_is_found_like_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe("fedavg", model="openai/clip").model == "openai/clip"
    (tmp_path / "openai" / "clip").mkdir(parents=True)
    (tmp_path / "tiny-clip").mkdir()
    assert load_recipe("fedavg", model="openai/clip").model == str(tmp_path / "openai" / "clip")
    assert load_recipe("fedavg", model="./tiny-clip").model == str(tmp_path / "tiny-clip")
    assert load_recipe("fedavg").model == "tiny-clip"


# -- what ships -----------------------------------------------------------------------------------------------------


def test_every_key_has_words_for_what_it_takes() -> None:
    for _, _, group in key_groups():
        for key in group:
            assert key.description
            assert "another value" not in key.description
    assert allowed(tuple[int, ...]) == "a list of whole numbers such as [1, 2]"


def test_the_list_of_methods_says_which_sections_are_off() -> None:
    (mor,) = [row for row in methods_table() if row.name == "mor"]
    shown = {key.name: (key.default, key.description) for key in mor.settings}
    assert shown["method.critic"][0] == shown["method.demonstrate"][0] == "none"
    assert all(text for _, text in shown.values())
    names = list(shown)
    assert names.index("method.critic") < names.index("method.critic.threshold")
    assert "method.policy" not in shown, "that one is never off"


def test_help_names_every_key_once() -> None:
    named = [key.name for _, _, group in key_groups() for key in group]
    assert len(named) == len(set(named))
    for key in keys(Recipe):
        # The second tower is explained by the first.
        assert key.name in named or key.name.startswith(("adapter.text.", "method.")), key.name


def test_methods_are_described_by_their_classes() -> None:
    rows = {row.name: row for row in methods_table()}
    assert {"fedavg", "fedprox", "local"} <= set(rows)
    assert "method.mu" in {key.name for key in rows["fedprox"].settings}
    assert all(row.summary for row in rows.values())


def test_a_method_that_cannot_be_imported_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> type[base.Method]:
        raise SynopticError(f"the method '{name}' cannot be imported")

    monkeypatch.setattr("synoptic.experiment.catalogue.load_method", broken)
    assert all("cannot be imported" in row.summary for row in methods_table())


def test_a_section_can_be_given_from_python() -> None:
    recipe = load_recipe("fedavg", data=DataSpec(source="world", clients=3))
    assert (recipe.data.source, recipe.data.clients) == ("world", 3)
