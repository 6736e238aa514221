from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from synoptic import cli
from synoptic.core import SynopticError
from synoptic.data.spec import EMBEDDED, KINDS
from synoptic.experiment import recipe_list
from synoptic.experiment.display.recipes import show_recipes
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.recipe_list import LABELS, ShippedRecipe, copy_recipe, describe, shipped_recipes
from synoptic.experiment.runner import run

ROOT = Path(__file__).parents[2]
SHIPPED = {recipe.name: recipe for recipe in shipped_recipes()}
HEAD = "# A setting:\n# told in two lines.\n#\n# Shows:   this\n#          and that: here.\n# Expect:  much.\n"
TAIL = "# Minutes: about two, on a laptop; offline.\n#\n# Run:     synoptic run x\n#          synoptic run y\n"


def loaded(recipe: ShippedRecipe, *changes: str) -> Recipe:
    """The recipe, with a path where it wants one."""
    return load_recipe(recipe.path, ["data.path=x", *changes] if "your files" in recipe.needs else changes)


# -- those that ship --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SHIPPED))
def test_every_recipe_is_valid_and_of_one_form(name: str) -> None:
    recipe = SHIPPED[name]
    assert loaded(recipe).rounds > 0
    assert recipe.path.read_text(encoding="utf-8").startswith(f"# {recipe.title[:20]}")
    assert recipe.title.endswith(".")
    assert set(LABELS) <= set(recipe.head)
    assert re.search(r"docs/(results|claims/\w+)\.md", recipe.head["Expect"]), "what to expect is measured, not typed"
    assert not re.search(r"\d\s*(%|per cent|points)", " ".join(recipe.head.values()))
    assert recipe.head["Run"].splitlines()[0].startswith(f"synoptic run recipes/{name}.yaml")
    assert ("data.path=" in recipe.head["Run"]) == ("your files" in recipe.needs)
    assert ("offline" in recipe.head["Minutes"]) == (recipe.needs == "nothing")
    assert 0 < len(recipe.minutes) <= 20
    assert max(len(line) for line in recipe.path.read_text(encoding="utf-8").splitlines()) <= 120


def test_what_a_recipe_needs_is_what_its_content_says() -> None:
    for recipe in SHIPPED.values():
        described = loaded(recipe)
        own = described.data.tasks is not None and described.data.tasks.on_files
        embedded = described.data.source in EMBEDDED and not own and "/" not in described.model
        assert (recipe.needs == "nothing") == embedded, recipe.name


def test_there_is_a_recipe_for_each_setting() -> None:
    settings = {(recipe.data.source, recipe.data.partition.kind) for recipe in map(loaded, SHIPPED.values())}
    assert {source for source, _ in settings} == {"digits", "world", "questions", "tasks", "parquet", "folder", "hub"}
    # A column of one's own is a matter of one's own data, and equal parts are no setting of any paper.
    assert {kind for source, kind in settings if source != "tasks"} == set(KINDS) - {"column", "iid"}
    assert len(settings) <= len(SHIPPED)


@pytest.mark.parametrize("name", [name for name, recipe in SHIPPED.items() if recipe.needs == "nothing"])
def test_what_needs_nothing_runs(name: str, tmp_path: Path) -> None:
    few = ["rounds=1", "compute.threads=1", "federation.stack=5", "evaluate.clients=5", f"output={tmp_path}"]
    data = load_recipe(SHIPPED[name].path).data
    if data.tasks is not None:
        few += ["data.tasks.groups=1", "data.tasks.train=10", "data.tasks.test=4"]
    else:
        few += ["data.test_limit=40", f"data.train_limit={max(240, 2 * (data.clients or 0))}"]
    result = run(loaded(SHIPPED[name], *few))
    assert result.summary["rounds"] == 1
    # A manner of answering that the base has never seen is not learnt in one round: that there is a share is enough.
    names = [
        name
        for name in ("shared/base/accuracy/mean", "personal/local/accuracy/mean", "personal/local/shapes/accuracy/mean")
        if name in result.metrics
    ]
    assert names and all(0 <= result.metrics[name] <= 1 for name in names)
    assert result.metrics.get("shared/base/accuracy/mean", 1) > 0


def test_a_folder_of_ones_own_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for word in ("red_square", "blue_square"):
        (tmp_path / "images" / word).mkdir(parents=True)
        for number in range(30):
            noise = rng.integers(0, 60, (24, 24, 3), dtype=np.uint8)
            noise[..., 0 if word == "red_square" else 2] += 180
            Image.fromarray(noise).save(tmp_path / "images" / word / f"{number}.png")
    settings = [f"data.path={tmp_path / 'images'}", "rounds=1", f"output={tmp_path / 'runs'}", "compute.threads=1"]
    result = run(load_recipe(SHIPPED["image_folder"].path, settings))
    assert result.metrics["shared/base/accuracy/mean"] > 0


# -- the head ---------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_head(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{HEAD}# Why not: so.\n{TAIL}method: fedavg\n# Late: no part of the head.\n")
    recipe = describe(path)
    assert (recipe.name, recipe.title) == ("x", "A setting: told in two lines.")
    assert dict(recipe.head) == {
        "Shows": "this and that: here.", "Expect": "much.", "Why not": "so.",
        "Minutes": "about two, on a laptop; offline.", "Run": "synoptic run x\nsynoptic run y",
    }  # fmt: skip
    assert recipe.minutes == "about two"


@pytest.mark.parametrize(
    ("content", "needs"),
    [
        ("method: fedavg", "nothing"),
        ("data: world", "nothing"),
        ("data: {source: parquet}", "your files"),
        ("data: {source: parquet, path: there}", "nothing"),
        ("data: 'folder:there'", "nothing"),
        ("data: folder\nmodel: some/model", "your files and the network"),
        ("data: {source: hub, path: some/data}", "the network"),
        ("data: 'hub:some/data'", "the network"),
    ],
)
def test_what_is_needed_is_read_off_the_content(content: str, needs: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{HEAD}{TAIL}{content}\n")
    assert describe(path).needs == needs


def test_a_head_that_lacks_a_part_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{HEAD}method: fedavg\n")
    with pytest.raises(SynopticError, match=r"at the top of .*x\.yaml lacks Minutes, Run; write it as in other"):
        describe(path)
    path.write_text("method: fedavg\n")
    with pytest.raises(SynopticError, match=r"lacks title, Shows, Expect, Minutes, Run;"):
        describe(path)


# -- finding, showing, copying ----------------------------------------------------------------------------------------


def test_recipes_of_an_installed_package_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lib" / "python" / "synoptic"
    (package / "recipes").mkdir(parents=True)
    monkeypatch.setattr(recipe_list.resources, "files", lambda name: package)
    with pytest.raises(SynopticError, match=r"there are no recipes at .*; install synoptic again"):
        shipped_recipes()
    (package / "recipes" / "x.yaml").write_text(f"{HEAD}{TAIL}method: fedavg\n")
    assert [recipe.name for recipe in shipped_recipes()] == ["x"]


def test_the_wheel_takes_the_recipes_along() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {"recipes": "synoptic/recipes"}


@pytest.mark.parametrize("width", [60, 120])
def test_the_list_fits(width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for place in (ROOT, tmp_path):
        monkeypatch.chdir(place)
        console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
        show_recipes(console, shipped_recipes())
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        assert all(len(line) <= width for line in lines)
        assert [line for line in lines if line in SHIPPED] == list(SHIPPED)
        assert ("run one:  synoptic run recipes/NAME.yaml" in lines) is (place == ROOT)
        assert lines[-1] == "copy one: synoptic recipes --copy NAME"


def test_a_copy_is_the_same_recipe_under_its_own_name(tmp_path: Path) -> None:
    for name in ("digits", "world_few_shot.yaml"):
        target = copy_recipe(name, tmp_path)
        assert load_recipe(target).hash == load_recipe(SHIPPED[target.stem].path).hash
        assert describe(target).head["Run"].startswith(f"synoptic run {target.name}")
        with pytest.raises(SynopticError, match="is there already; remove it, or copy in another folder"):
            copy_recipe(name, tmp_path)
    with pytest.raises(SynopticError, match=r"there is no recipe called 'digist'; did you mean 'digits'\?"):
        copy_recipe("digist", tmp_path)


def test_the_command_lists_and_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["recipes"]) == 0
    assert set(SHIPPED) <= set(capsys.readouterr().out.splitlines())
    assert cli.main(["recipes", "--copy", "digits"]) == 0
    assert capsys.readouterr().out == "run it: synoptic run digits.yaml\n"
    assert (tmp_path / "digits.yaml").exists()
    assert cli.main(["recipes", "--copy", "nothing"]) == 2
    assert "choose one of: clip_vit" in capsys.readouterr().err
