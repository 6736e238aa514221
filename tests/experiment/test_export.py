from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from finished import finished
from helpers import clip_folder, write_clip
from runs import small, stop_at
from synoptic import cli
from synoptic.adapters.peft_io import import_peft, read_note
from synoptic.adapters.stack import expand
from synoptic.core import SynopticError
from synoptic.experiment.delivered import read_about
from synoptic.experiment.export import export
from synoptic.experiment.folder import RunFolder, writing
from synoptic.experiment.records import read_run
from synoptic.experiment.runner import resume, run
from synoptic.methods import base
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import load_dual_encoder

BOTH = ("adapter.text=lora", "adapter.vision.lora.alpha=6", "train.lr=0.02")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A finished run to spoil."""
    import shutil

    return Path(shutil.copytree(finished(), tmp_path / "run"))


def card(folder: Path) -> str:
    return (folder / "README.md").read_text()


def front_matter(folder: Path) -> dict[str, Any]:
    from huggingface_hub import ModelCard

    loaded: dict[str, Any] = ModelCard.load(folder / "README.md").data.to_dict()
    return loaded


def inputs(model: DualEncoder) -> dict[str, Tensor]:
    texts = [f"the digit {name}." for name in ("three", "five", "nine")]
    ids = model.tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    return {"input_ids": ids, "pixel_values": torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))}


@torch.no_grad()
def ours(model: DualEncoder, folder: Path) -> Tensor:
    given = inputs(model)
    with model.wearing(expand(import_peft(folder, model), 1)):
        images = model.image_suffix(model.image_prefix(given["pixel_values"], 0), 0)
        tokens = model.text.tokens(given["input_ids"])
        texts = model.text_suffix(tokens, model.text_prefix(tokens, 0), 0, 1)
        return model.logits(images[None], texts)[0]


TAIL = """
import json, sys, torch
from safetensors.torch import load_file, save_file
with torch.no_grad():
    save_file({"logits": model(**load_file(sys.argv[1])).logits_per_image.contiguous()}, sys.argv[2])
print(json.dumps(sorted(sys.modules)))
"""


def fresh(code: str, model: DualEncoder, folder: Path) -> tuple[Tensor, set[str]]:
    """Logits of the model that ``code`` loads in a process of its own, and the modules that process had."""
    save_file(inputs(model), folder / "given")
    done = subprocess.run(
        [sys.executable, "-c", code + TAIL, str(folder / "given"), str(folder / "logits")],
        capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return load_file(folder / "logits")["logits"], set(json.loads(done.stdout.splitlines()[-1]))


def code_of(folder: Path) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", card(folder), flags=re.DOTALL)
    assert len(block.strip().splitlines()) <= 4
    return block.replace("path/to/this/folder", str(folder))


# -- what is written ------------------------------------------------------------------------------------------------


def test_the_four_lines_of_the_card_compute_what_synoptic_does(tmp_path: Path) -> None:
    (folder,) = export(finished("fedavg", *BOTH), tmp_path / "out")
    model = load_dual_encoder("tiny-clip")
    logits, _ = fresh(code_of(folder), model, tmp_path)
    with torch.no_grad():
        frozen = model.model(**inputs(model)).logits_per_image
    assert torch.allclose(logits, ours(model, folder), atol=1e-4)
    assert (logits - frozen).abs().max() > 0.1


def test_a_base_in_a_folder_needs_no_synoptic(tmp_path: Path) -> None:
    (folder,) = export(finished("fedavg", f"model={clip_folder()}", "train.lr=0.1"), tmp_path / "out")
    model = load_dual_encoder(str(clip_folder()))
    logits, modules = fresh(code_of(folder).replace("path/to/clip", str(clip_folder())), model, tmp_path)
    assert torch.allclose(logits, ours(model, folder), atol=1e-4)
    assert "peft" in modules
    assert not {name for name in modules if name.partition(".")[0] == "synoptic"}
    assert "--base path/to/clip" in card(folder)


def test_merged_weights_compute_the_same_in_plain_transformers(tmp_path: Path) -> None:
    peft, merged = export(finished("fedavg", *BOTH), tmp_path / "out", merged=True)
    model = load_dual_encoder("tiny-clip")
    logits, modules = fresh(code_of(merged), model, tmp_path)
    assert torch.allclose(logits, ours(model, peft), atol=1e-4)
    assert not {name for name in modules if name.partition(".")[0] in ("peft", "synoptic")}
    assert front_matter(merged)["library_name"] == "transformers"
    assert front_matter(peft)["library_name"] == "peft"


def test_the_base_in_memory_is_not_merged_into(tmp_path: Path) -> None:
    from rooms import model as shared_base

    before = {name: tensor.clone() for name, tensor in shared_base().model.state_dict().items()}
    export(finished("fedavg", *BOTH), tmp_path / "out", merged=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in shared_base().model.state_dict().items())


def test_what_is_exported_is_what_the_run_had(tmp_path: Path) -> None:
    (folder,) = export(finished(), tmp_path / "out")
    there, here = import_peft(finished() / "adapters" / "shared"), import_peft(folder)
    assert folder == tmp_path / "out" / "shared"
    assert sorted(there.keys()) == sorted(here.keys())
    assert all(torch.equal(there[name], here[name]) for name in there.keys())  # noqa: SIM118
    note = read_note(folder)
    assert note is not None
    assert note.words is not None
    assert (note.words.classes[3], note.words.novel, note.words.template) == (
        "three", ("seven", "eight", "nine"), "the digit {}.",
    )  # fmt: skip


def test_clients_own_adapters(tmp_path: Path) -> None:
    written = export(finished("local"), tmp_path / "all")
    assert written == [tmp_path / "all" / "personal" / f"client-{k}" for k in range(3)]
    for name, folder in (("client-1", "named"), ("1", "numbered")):
        (one,) = export(finished("local"), tmp_path / folder, client=name)
        assert one == tmp_path / folder / "personal" / "client-1"
        assert (one / "adapter_model.safetensors").read_bytes() == (
            written[1] / "adapter_model.safetensors"
        ).read_bytes()
    summary = json.loads((finished("local") / "summary.json").read_text())
    own = summary["clients"]["client-1"]
    assert f"{own['examples']:.0f} test examples: {100 * own['personal/local/accuracy']:.1f} %" in card(written[1])


MIXED = """
from synoptic.methods.base import task
from synoptic.methods.fedavg import FedAvg

class Mixed(FedAvg):
    summary = "a shared adapter, and one for each client that is half of its own"
    has_personal = True

    @task
    def train(self, cohort, adapter):
        fitted = cohort.fit(adapter)
        cohort.personal["own"] = fitted.stack * 0.5
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss)

    def personal_model(self, cohort, shared):
        assert shared is not None
        return cohort.personal.adapter("own", shared)
"""


def test_shared_and_personal_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mixed_of_the_tests.py").write_text(MIXED)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = {**base.registry(), "mixed": EntryPoint("mixed", "mixed_of_the_tests:Mixed", base.GROUP)}
    monkeypatch.setattr(base, "registry", lambda: known)
    folder = run(small(tmp_path / "runs", "mixed", "rounds=1")).folder
    out = tmp_path / "out"
    assert export(folder, out / "1") == [out / "1" / "shared"]
    assert export(folder, out / "2", client="1") == [out / "2" / "shared", out / "2" / "personal" / "client-1"]
    assert "Clients also have personal adapters, which were never sent" in card(out / "2" / "shared")
    assert "personal/local/accuracy/mean" in card(out / "2" / "personal" / "client-1")
    assert "personal/local/accuracy/mean" not in card(out / "2" / "shared")


def test_prompts_are_delivered_beside_peft(tmp_path: Path) -> None:
    (folder,) = export(finished("promptfl"), tmp_path / "out")
    assert "PEFT has no form for `text/prompt/context`" in card(folder)
    assert "```python" not in card(folder)
    assert import_peft(folder)["text/prompt/context"].shape[0] == 4
    with pytest.raises(SynopticError, match="text/prompt/context, which are inputs of the model and not weights"):
        export(finished("promptfl"), tmp_path / "merged", merged=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing is left of what failed"


def test_files_can_be_read_by_whom_new_files_can(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (folder,) = export(finished(), tmp_path / "out")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


# -- what goes wrong ------------------------------------------------------------------------------------------------


def sentence(*arguments: Any, **options: Any) -> str:
    with pytest.raises(SynopticError) as caught:
        export(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path), [stop_at("round", 1)])
    (folder,) = tmp_path.iterdir()
    assert f"is not finished; go on with it: synoptic run --resume {folder}" in sentence(folder, tmp_path / "out")
    with writing(RunFolder(folder)):
        assert f"still being written; wait for its end: synoptic watch {folder}" in sentence(folder, tmp_path / "out")
    assert "there is no run folder" in sentence(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("file", ["about.json", "shared/adapter_model.safetensors", "shared/adapter_config.json",
                                  "shared/synoptic.json"])  # fmt: skip
@pytest.mark.parametrize("how", ["missing", "cut"])
def test_a_damaged_run_says_what_helps_and_that_helps(file: str, how: str, copied: Path, tmp_path: Path) -> None:
    path = copied / "adapters" / file
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    message = sentence(copied, tmp_path / "out")
    assert f"remove {copied / 'summary.json'} and go on with synoptic run --resume {copied}" in message
    assert not (tmp_path / "out").exists()
    (copied / "summary.json").unlink()
    resume(copied)
    assert export(copied, tmp_path / "out")


def test_about_with_a_wrong_value(copied: Path, tmp_path: Path) -> None:
    path = copied / "adapters" / "about.json"
    path.write_text(path.read_text().replace('"shared": true', '"shared": "perhaps"'))
    assert "about.json is damaged at shared" in sentence(copied, tmp_path / "out")
    assert read_run(copied).status == "finished"
    with pytest.raises(SynopticError):
        read_about(read_run(copied))


def test_an_adapter_of_another_run(copied: Path, tmp_path: Path) -> None:
    note = copied / "adapters" / "shared" / "synoptic.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"fingerprint": "0" * 16}))
    assert "names the base 0000000000000000, and its run" in sentence(copied, tmp_path / "out")


def test_a_base_that_has_changed(tmp_path: Path) -> None:
    folder = run(small(tmp_path, "fedavg", "rounds=1", f"model={write_clip(tmp_path / 'my-clip')}")).folder
    write_clip(tmp_path / "my-clip", seed=1)
    assert "was made for" in sentence(folder, tmp_path / "out", merged=True)
    assert not (tmp_path / "out").exists()


def test_unknown_clients(tmp_path: Path) -> None:
    message = sentence(finished("local"), tmp_path / "out", client="client-7")
    assert "no adapter of a client 'client-7'; it has 3: client-0, client-1, client-2." in message
    assert "no adapter of a client '3'" in sentence(finished("local"), tmp_path / "out", client="3")
    assert "all its clients share one; leave out --client" in sentence(finished(), tmp_path / "out", client="0")


def test_nothing_was_trained(tmp_path: Path) -> None:
    folder = finished("zeroshot", "rounds=0")
    assert f"trained no adapter; its base is all there is to use: synoptic predict {folder}" in sentence(
        folder, tmp_path / "out"
    )


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert export(finished(), tmp_path / "out"), "an empty one will do"
    assert "exists already; remove it or set --out" in sentence(finished(), tmp_path / "out")
    (tmp_path / "file").touch()
    assert "file exists already" in sentence(finished(), tmp_path / "file")
    assert "cannot be written" in sentence(finished(), tmp_path / "file" / "below")


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(cli.DEBUG, "0")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(finished("local")), "--client", "2"]) == 0
    place = f"{finished('local').name}-export/personal/client-2"
    assert capsys.readouterr().out == f"exported: {place}\ntry it: synoptic predict {place} PICTURE\n"
    assert (tmp_path / place / "adapter_config.json").exists()
    assert cli.main(["export", str(finished("local")), "--out", place]) == 2
    assert capsys.readouterr().err == f"error: {place} exists already; remove it or set --out to another folder.\n"
