from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from finished import finished
from helpers import base, clip_folder, randomised, reference, write_clip
from runs import small
from synoptic import cli
from synoptic.adapters.peft_io import export_peft
from synoptic.adapters.spec import AdapterSpec
from synoptic.core import SynopticError
from synoptic.data import manifest
from synoptic.experiment.display.predictions import predictions_json, show_predictions
from synoptic.experiment.export import export
from synoptic.experiment.predict import Guess, Prediction, Predictions, predict
from synoptic.experiment.recipe import read_recipe
from synoptic.experiment.runner import run


def tuned() -> Path:
    """A run whose adapter does something."""
    return finished("fedavg", "train.lr=0.02", "adapter.text=lora")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The test pictures of the runs as files, named by their labels."""
    folder = tmp_path_factory.mktemp("pictures")
    data = manifest.load(tuned() / "split", read_recipe(tuned() / "recipe.yaml").data)
    paths = []
    for place, pixels in enumerate(data.test.images.load(np.arange(len(data.test)))):
        paths.append(folder / f"{data.class_names[data.test.labels[place]]}-{place}.png")
        Image.fromarray(np.asarray(pixels)).save(paths[-1])
    return paths


def right(found: Predictions) -> float:
    """Share of pictures whose name begins with the likeliest class."""
    return float(np.mean([one.image.name.split("-")[0] == one.top[0].name for one in found.images]))


def first(found: Predictions) -> list[tuple[str, float]]:
    return [(one.top[0].name, one.top[0].probability) for one in found.images]


@pytest.mark.parametrize("method", ["fedavg", "promptfl"])
def test_a_run_predicts_what_it_was_measured_at(method: str, pictures: list[Path]) -> None:
    folder = tuned() if method == "fedavg" else finished("promptfl")
    summary = json.loads((folder / "summary.json").read_text())
    found = predict(folder, pictures, top=20)
    assert right(found) == pytest.approx(summary["metrics"]["shared/global/accuracy/mean"])
    assert (found.template, len(found.classes)) == ("the digit {}.", 10)
    for one in found.images:
        assert sum(guess.probability for guess in one.top) == pytest.approx(1, abs=1e-5)
        assert [guess.probability for guess in one.top] == sorted((g.probability for g in one.top), reverse=True)


def test_a_client_predicts_what_it_was_measured_at(pictures: list[Path]) -> None:
    folder = finished("local", "train.lr=0.02")
    summary = json.loads((folder / "summary.json").read_text())
    shares = [right(predict(folder, pictures, client=client)) for client in ("client-0", "1", "client-2")]
    assert np.mean(shares) == pytest.approx(summary["metrics"]["personal/global/accuracy/mean"])
    assert min(shares) == pytest.approx(summary["metrics"]["personal/global/accuracy/worst"])


def test_run_export_and_merged_model_agree(pictures: list[Path], tmp_path: Path) -> None:
    peft, merged = export(tuned(), tmp_path / "out", merged=True)
    some = pictures[:6]
    whole = first(predict(tuned(), some))
    assert first(predict(peft, some)) == whole
    assert first(predict(tmp_path / "out", some)) == whole
    assert [name for name, _ in first(predict(merged, some))] == [name for name, _ in whole]
    assert [p for _, p in first(predict(merged, some))] == pytest.approx([p for _, p in whole], abs=1e-4)
    alone = first(predict("tiny-clip", some, predict(peft, some).classes, "the digit {}."))
    assert [p for _, p in alone] != pytest.approx([p for _, p in whole], abs=1e-2), "the adapter must do something"


def test_a_run_that_trained_nothing_is_its_base(pictures: list[Path]) -> None:
    found = predict(finished("zeroshot", "rounds=0"), pictures[:4])
    assert first(found) == first(predict("tiny-clip", pictures[:4], found.classes, found.template))


def test_classes_template_and_top_of_ones_own(pictures: list[Path]) -> None:
    found = predict(tuned(), pictures[:2], [" three", "five ", "eight"], "{}", top=2)
    assert (found.classes, found.template) == (("three", "five", "eight"), "{}")
    assert [len(one.top) for one in found.images] == [2, 2]
    assert [one.image for one in found.images] == pictures[:2]


def test_an_adapter_by_plain_peft_with_its_base_by_name(pictures: list[Path], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(reference(), LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.fill_(0.05)
    model.save_pretrained(tmp_path / "adapter")
    given = predict(tmp_path / "adapter", pictures[:2], ["seven", "red circle"], base=str(clip_folder()))
    named = predict(tmp_path / "adapter", pictures[:2], ["seven", "red circle"])
    frozen = predict(clip_folder(), pictures[:2], ["seven", "red circle"])
    assert first(given) == first(named) != first(frozen)
    assert named.base == str(clip_folder())


def test_pictures_of_any_size_and_kind(tmp_path: Path) -> None:
    paths = []
    for name, mode, size in (("a.png", "L", (40, 30)), ("b.jpg", "RGB", (300, 200)), ("c.png", "P", (8, 64)),
                             ("d.png", "RGBA", (32, 32))):  # fmt: skip
        paths.append(tmp_path / name)
        Image.new(mode, size).save(paths[-1])
    assert len(predict("tiny-clip", paths, ["circle", "square"]).images) == 4


# -- what goes wrong ------------------------------------------------------------------------------------------------


def sentence(*arguments: Any, **options: Any) -> str:
    with pytest.raises(SynopticError) as caught:
        predict(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def test_pictures_that_cannot_be_read(pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:120])
    message = sentence(tuned(), [pictures[0], tmp_path / "notes.png"])
    assert f"{tmp_path / 'notes.png'} is not a readable image (of no known format); repair or remove it." in message
    assert "cut.png is not a readable image" in sentence(tuned(), [tmp_path / "cut.png"])
    assert "there is no picture" in sentence(tuned(), [tmp_path / "nowhere.png"])
    assert f"is a folder, not a picture; name the files, such as {tmp_path}/*.png" in sentence(tuned(), [tmp_path])
    assert "no picture was given" in sentence(tuned(), [])


@pytest.mark.parametrize(
    ("options", "words"),
    [({"classes": [""]}, 'no class was given; give --classes "cat,dog"'), ({"classes": []}, "no class was given"),
     ({"classes": ["a", "a "]}, "'a', 'a' are not all different"), ({"classes": ["a", ""]}, "not all words"),
     ({"classes": ["a"]}, "'a' alone leaves nothing to choose from"), ({"top": 0}, "ask for at least 1"),
     ({"template": "a photo"}, "has no place for the class; write {} where it goes")],
)  # fmt: skip
def test_nothing_to_choose_among(options: dict[str, Any], words: str, pictures: list[Path]) -> None:
    assert words in sentence(tuned(), pictures[:1], **options)


def test_a_base_alone_needs_classes(pictures: list[Path]) -> None:
    assert "the base tiny-clip alone does not say what to tell apart" in sentence("tiny-clip", pictures[:1])
    assert "no folder here, so a model of the hub" in sentence("nobody/nothing", pictures[:1])


def test_what_is_no_adapter(pictures: list[Path], tmp_path: Path) -> None:
    one = pictures[:1]
    assert "is neither an adapter nor a run nor a model; point to a folder with adapter_config.json" in sentence(
        tmp_path, one
    )
    assert "did you mean 'tiny-clip'?" in sentence("tiny-clp", one)
    (tmp_path / "my-run").mkdir()
    assert "did you mean 'my-run'?" in sentence(tmp_path / "my-rum", one)
    assert "give a folder, or the name of a base" in sentence(tmp_path / "nothing" / "like" / "it", one)


def test_clients_where_there_are_none_or_too_many(pictures: list[Path], tmp_path: Path) -> None:
    one, local = pictures[:1], finished("local", "train.lr=0.02")
    assert "choose with --client among 3: client-0, client-1, client-2." in sentence(local, one)
    assert "no adapter of a client 'client-9'; it has 3" in sentence(local, one, client="client-9")
    (shared,) = export(tuned(), tmp_path / "shared")
    assert "has no clients to choose from; leave out --client" in sentence(shared, one, client="0")
    assert "it holds the shared one alone" in sentence(tmp_path / "shared", one, client="0")
    export(local, tmp_path / "local")
    assert "several clients' own adapters; choose with --client among 3" in sentence(tmp_path / "local", one)
    assert "no adapter of a client '7'; choose" in sentence(tmp_path / "local", one, client="7")
    assert first(predict(tmp_path / "local", one, client="client-1")) == first(predict(local, one, client="1"))


def test_another_base_is_refused_with_both_named(pictures: list[Path], tmp_path: Path) -> None:
    one = randomised(base().new_adapter(AdapterSpec.model_validate({"vision": "lora"}), 0), 1)
    export_peft(one, tmp_path / "adapter", base())
    other = write_clip(tmp_path / "other", seed=1)
    message = sentence(tmp_path / "adapter", pictures[:1], ["a", "b"], base=str(other))
    assert f"was made for {base().name} ({base().fingerprint}), not for {other}" in message
    assert "tiny-clip is a base itself; leave out --base" in sentence(
        "tiny-clip", pictures[:1], ["a", "b"], base="tiny-clip"
    )


def test_a_base_that_is_not_here(pictures: list[Path], tmp_path: Path) -> None:
    shutil.copytree(clip_folder(), tmp_path / "gone")
    folder = run(small(tmp_path / "runs", "fedavg", "rounds=1", f"model={tmp_path / 'gone'}")).folder
    (shared,) = export(folder, tmp_path / "out")
    message = sentence(shared, pictures[:1])
    assert f"was made for gone ({base().fingerprint}), which is not here; say where it is with --base." in message
    assert predict(shared, pictures[:1], base=str(tmp_path / "gone")).base == str(tmp_path / "gone")


# -- the command ----------------------------------------------------------------------------------------------------

LONG = Path("folder/with/a/rather/long/name/of/a/picture.png")
FOUND = Predictions("tiny-clip", "0" * 16, "a {}.", ("cat", "dog [1]"), (
    Prediction(LONG, (Guess("dog [1]", 0.98765), Guess("cat", 0.01))),
    Prediction(Path("b.png"), (Guess("cat", 1.0),)),
))  # fmt: skip


@pytest.mark.parametrize("width", [60, 120])
def test_the_table_fits(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    show_predictions(console, FOUND)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for part in ("dog [1]", "98.8 %", "100.0 %", "b.png", "among 2 classes on tiny-clip, prompt: a {}."):
        assert part in text


def test_json_for_programs() -> None:
    content = json.loads(predictions_json(FOUND))
    assert content["images"][0]["top"][0] == {"class": "dog [1]", "probability": 0.98765}
    assert content["images"][1]["image"] == "b.png"
    assert (content["base"], content["fingerprint"], content["classes"]) == ("tiny-clip", "0" * 16, ["cat", "dog [1]"])


def test_the_command(pictures: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(cli.DEBUG, "0")
    names = [str(path) for path in pictures[:2]]
    assert cli.main(["predict", str(tuned()), *names, "--classes", "three,five", "--top", "1", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [one["image"] for one in content["images"]] == names
    assert cli.main(["predict", str(tuned()), *names]) == 0
    assert "among 10 classes on tiny-clip" in capsys.readouterr().out.replace("\n", " ")
    assert cli.main(["predict", "tiny-clip", *names]) == 2
    assert capsys.readouterr().err.startswith("error: no class was given")
    assert cli.main(["predict", str(tuned())]) == 2
    assert "Missing argument" in capsys.readouterr().err
