from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import answerers
from asking import QUESTIONS, SESSION, asked, questions
from finished import finished
from synoptic import cli
from synoptic.adapters.peft_io import import_peft
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.data import manifest
from synoptic.experiment.ask import Asked, Reply, ask, ask_tests, say
from synoptic.experiment.display.answers import answers_json, show_answers
from synoptic.experiment.export import export
from synoptic.experiment.predict import predict
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import run
from synoptic.learning.answering import AnswerRows, answer

STRONG = ("train.lr=0.05", "train.epochs=2")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{place}.png" for place in range(3)]
    for path, picture in zip(paths, questions().test.images.load(np.arange(3)), strict=True):
        Image.fromarray(np.asarray(picture)).save(path)
    return paths


def test_what_is_said_is_what_decoding_a_table_says() -> None:
    data, model = questions(), answerers.base()
    words = data.test.words
    assert words is not None
    where = [str(place) for place in range(len(data.test))]
    one = import_peft(asked("fedavg", *STRONG) / "adapters" / "shared")
    rows = AnswerRows(model, data.test, np.arange(len(data.test)), None)
    decoded = answer(model, leaves(expand(one, 1)), rows, np.arange(len(data.test))[None])
    assert say(model, one, data.test.images, words.questions, where) == [text for (text,) in decoded.texts]


def test_a_run_answers_its_tests_as_it_was_measured() -> None:
    """Decoding says exactly as often what teacher forcing counted, on the embedded base and its own words."""
    folder = run(load_recipe("zeroshot", [*QUESTIONS, f"output={SESSION.name}", "compute.threads=1"])).folder
    accuracy = read_json(folder / "summary.json")["metrics"]["shared/global/accuracy/mean"]
    replies = json.loads(answers_json(ask_tests(folder, 0)))["replies"]
    assert len(replies) == 24
    assert 0 < accuracy < 1
    assert np.mean([reply["exact"] for reply in replies]) == pytest.approx(accuracy)
    words = manifest.load(folder / "split").test.words
    assert words is not None
    assert [reply["truth"] for reply in replies] == list(words.answers)


def test_a_client_answers_its_own_tests_with_its_own_adapter() -> None:
    folder = asked("local", *STRONG)
    data = manifest.load(folder / "split")
    name = data.clients.name(1)
    for client in (name, "1"):
        found = ask_tests(folder, 0, client)
        assert [reply.picture for reply in found.replies] == [f"questions/test {row}" for row in data.clients.test(1)]
    with pytest.raises(SynopticError, match=r"every client of the run .* has its own adapter; choose with --client"):
        ask_tests(folder, 2)
    with pytest.raises(SynopticError, match=r"has no adapter of a client 'nobody'; it has 3: group-0"):
        ask_tests(folder, 2, "nobody")


def test_some_of_the_tests_are_drawn_and_the_draw_is_fixed() -> None:
    folder = asked("fedavg", *STRONG)
    some = ask_tests(folder, 5, before=True)
    assert len({reply.picture for reply in some.replies}) == 5
    assert some == ask_tests(folder, 5, before=True)
    assert all(reply.before is not None for reply in some.replies)


@pytest.mark.parametrize(
    ("images", "asks", "pairs"),
    [(1, 1, 1), (3, 1, 3), (1, 2, 2), (2, 2, 2)],
)
def test_pictures_and_questions_are_paired(pictures: list[Path], images: int, asks: int, pairs: int) -> None:
    texts = ["what colour is it ?", "is it red ?"][:asks]
    found = ask(asked("fedavg", *STRONG), pictures[:images], texts)
    expected = [(str(pictures[i % images]), texts[i % asks]) for i in range(pairs)]
    assert [(reply.picture, reply.question) for reply in found.replies] == expected


def test_run_export_and_merged_model_say_the_same(pictures: list[Path], tmp_path: Path) -> None:
    folder, texts = asked("fedavg", *STRONG), ["is it red ?"]
    peft, merged = export(folder, tmp_path / "out", merged=True)
    whole = ask(folder, pictures, texts, before=True)
    for other in (ask(peft, pictures, texts, base=str(answerers.folder("llava"))), ask(merged, pictures, texts)):
        assert [reply.answer for reply in other.replies] == [reply.answer for reply in whole.replies]
    untouched = ask(str(answerers.folder("llava")), pictures, texts)
    assert [reply.answer for reply in untouched.replies] == [reply.before for reply in whole.replies]


def test_the_merged_model_has_the_logits_of_the_adapter(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    folder = asked("fedavg", *STRONG)
    _, merged = export(folder, tmp_path / "out", merged=True)
    model = answerers.base()
    data = questions()
    rows = AnswerRows(model, data.test, np.arange(4), None).rows(np.arange(4))
    pixels = torch.stack([view.pixels for view in model.family.views(data.test.images.load(np.arange(4)))])
    inputs = {"input_ids": rows.ids, "pixel_values": pixels}
    plain = AutoModelForImageTextToText.from_pretrained(merged).eval()
    one = import_peft(folder / "adapters" / "shared")
    with torch.no_grad():
        theirs = plain(**inputs).logits
        with model.wearing(expand(one, 1)):
            ours = model.model(**inputs).logits
        untouched = model.model(**inputs).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (ours - untouched).abs().max() > 1e-2


def test_the_card_of_an_answerer(tmp_path: Path) -> None:
    shared, merged = export(asked("fedavg", *STRONG), tmp_path / "out", merged=True)
    text = (shared / "README.md").read_text()
    for part in (
        "pipeline_tag: image-text-to-text", "| language decoder | LoRA of rank 4", "| connector | frozen",
        "synoptic ask path/to/this/folder --image picture.png --question", "questions.input_shift: 0.5",
        "greedy decoding gives exactly the reference answer", "Made for answering questions about pictures",
    ):  # fmt: skip
        assert part in text
    assert "classes trained" not in text
    assert "AutoTokenizer.from_pretrained" in (merged / "README.md").read_text()


class TestBadInput:
    def test_no_question_or_one_without_words(self, pictures: list[Path]) -> None:
        with pytest.raises(SynopticError, match=r"^no question was given; give one with --question"):
            ask(asked(), pictures, [])
        with pytest.raises(SynopticError, match=r"^the question ' \? ' has no words; ask something\.$"):
            ask(asked(), pictures, [" ? "])

    def test_no_picture_and_one_that_does_not_decode(self, tmp_path: Path) -> None:
        with pytest.raises(SynopticError, match="no picture was given"):
            ask(asked(), [], ["is it red ?"])
        (tmp_path / "bad.png").write_text("nothing")
        with pytest.raises(SynopticError, match=r"bad\.png is not a readable image"):
            ask(asked(), [tmp_path / "bad.png"], ["is it red ?"])

    def test_counts_that_cannot_be_paired(self, pictures: list[Path]) -> None:
        with pytest.raises(SynopticError, match=r"^3 pictures and 2 questions cannot be paired; give one picture for"):
            ask(asked(), pictures, ["a", "b"])

    def test_the_token_that_stands_for_the_picture(self, pictures: list[Path]) -> None:
        with pytest.raises(SynopticError, match=r"contains <image>, which stands for its picture"):
            ask(asked(), pictures[:1], ["what is <image> ?"])

    def test_a_dual_encoder_does_not_answer(self, pictures: list[Path]) -> None:
        with pytest.raises(SynopticError, match=r"^tiny-clip tells classes apart and answers no questions; use"):
            ask("tiny-clip", pictures, ["is it red ?"])
        with pytest.raises(SynopticError, match=r"tells classes apart and has no test questions; try its classes"):
            ask_tests(finished(), 3)

    def test_an_answerer_does_not_tell_classes_apart(self, pictures: list[Path]) -> None:
        with pytest.raises(SynopticError, match=r"answers questions and does not tell classes apart; ask it: "):
            predict(asked(), pictures)


def test_a_table_fits_into_sixty_columns() -> None:
    replies = (Reply("a/picture/with/a/long/name/indeed.png", "what colour is it?", "red", "blue", "crimson red"),) * 2
    console = Console(width=60, file=io.StringIO(), markup=False)
    show_answers(console, Asked("tiny-vlm", "0" * 16, replies))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 60
    assert "0 of 2 exactly right, token F1 66.7 %" in " ".join(text.split())
    plain = json.loads(answers_json(Asked("tiny-vlm", "0" * 16, replies)))
    assert plain["replies"][0]["token_f1"] == pytest.approx(2 / 3)
    assert "truth" not in json.loads(answers_json(Asked("b", "f", (Reply("p", "q", "a"),))))["replies"][0]


def test_the_command(pictures: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = str(asked("fedavg", *STRONG))
    assert cli.main(["ask", folder, "--image", str(pictures[0]), "--question", "is it red ?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replies"][0]["question"] == "is it red ?"
    assert cli.main(["ask", folder, "--test", "3", "--before"]) == 0
    assert "of 3 exactly right" in capsys.readouterr().out
    assert cli.main(["ask", folder, "--image", str(pictures[0])]) == 2
    assert "give --image and --question, or --test N" in capsys.readouterr().err
    assert cli.main(["ask", folder, "--test", "3", "--question", "why ?"]) == 2
    assert "leave out --image, --question and --base" in capsys.readouterr().err
    assert cli.main(["export", folder, "--out", str(tmp_path / "out")]) == 0
    assert f"try it: synoptic ask {tmp_path / 'out' / 'shared'} --image PICTURE" in capsys.readouterr().out


def test_a_run_whose_base_is_gone_says_so(pictures: list[Path], tmp_path: Path) -> None:
    copied = Path(shutil.copytree(asked(), tmp_path / "run"))
    text = (copied / "recipe.yaml").read_text().replace(str(answerers.folder("llava")), str(tmp_path / "gone"))
    (copied / "recipe.yaml").write_text(text)
    with pytest.raises(SynopticError, match=r"there is no embedded model or folder called '.*gone'"):
        ask(copied, pictures, ["is it red ?"])
