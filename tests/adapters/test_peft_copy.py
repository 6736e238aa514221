from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

from helpers import base, randomised
from synoptic.adapters.peft_card import is_hub_id
from synoptic.adapters.peft_io import Words, copy_peft, export_peft, import_peft, read_note
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import names
from synoptic.core import SynopticError

SPEC = AdapterSpec.model_validate({"vision": "lora", "text": "head"})


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, TensorDict]:
    one = randomised(base().new_adapter(SPEC, 0), 1)
    words = Words(classes=("cat", "dog"), novel=("dog",), template="a {}.")
    export_peft(one, tmp_path / "here", base(), words)
    return tmp_path / "here", one


def test_words_travel_with_the_adapter(exported: tuple[Path, TensorDict]) -> None:
    folder, _ = exported
    note = read_note(folder)
    assert note is not None
    assert note.words == Words(classes=("cat", "dog"), novel=("dog",), template="a {}.")
    (folder / "synoptic.json").unlink()
    assert read_note(folder) is None


def test_a_copy_is_the_same_adapter_with_another_name_for_its_base(
    exported: tuple[Path, TensorDict], tmp_path: Path
) -> None:
    folder, one = exported
    copy_peft(folder, tmp_path / "there", "owner/clip", "# card\n")
    back, note = import_peft(tmp_path / "there", base()), read_note(tmp_path / "there")
    assert all(torch.equal(back[name], one[name]) for name in names(one))
    config = json.loads((tmp_path / "there" / "adapter_config.json").read_text())
    assert note is not None
    assert note.words is not None
    assert config["base_model_name_or_path"] == note.base == "owner/clip"
    assert base().name not in json.dumps(config)
    assert (tmp_path / "there" / "README.md").read_text() == "# card\n"


def test_a_folder_of_plain_peft_is_not_copied(exported: tuple[Path, TensorDict], tmp_path: Path) -> None:
    folder, _ = exported
    (folder / "synoptic.json").unlink()
    with pytest.raises(SynopticError, match=r"synoptic\.json does not exist"):
        copy_peft(folder, tmp_path / "there", "clip", "")


@pytest.mark.parametrize(
    ("name", "of_the_hub"),
    [("openai/clip-vit-base-patch32", True), ("tiny-clip", False), ("/models/clip", False), ("./clip", False),
     ("~/clip", False), ("a/b/c", False), ("runs/*", False)],
)  # fmt: skip
def test_ids_of_the_hub(name: str, of_the_hub: bool) -> None:
    assert is_hub_id(name) is of_the_hub
