from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from answerers import FAMILIES, base, folder, lora, mixed_rows, reference, row_inputs
from helpers import randomised
from synoptic.adapters.peft_io import CARD, import_peft
from synoptic.adapters.peft_io import export_peft as export
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, names
from synoptic.core import SynopticError

SPECS: dict[str, dict[str, Any]] = {
    "decoder": {"text": {"lora": {"layers": [0, 2], "targets": ["q", "v", "gate"], "alpha": 3}}},
    "all": {"text": lora(), "connector": {"lora": {"rank": 2, "alpha": 1}}, "vision": lora(rank=3)},
}


def made(family: str, what: str) -> TensorDict:
    return randomised(base(family).new_adapter(AdapterSpec.model_validate(SPECS[what]), 0), 0, 0.1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", SPECS)
def test_plain_peft_computes_the_same(family: str, what: str, tmp_path: Path) -> None:
    from peft import PeftModel

    model, one = base(family), made(family, what)
    export(one, tmp_path, model)
    loaded = PeftModel.from_pretrained(reference(family), tmp_path).eval()
    views, rows = mixed_rows(model)
    with torch.no_grad(), model.wearing(expand(one, 1)):
        hidden = model.run(model.embed(rows, model.features(views)), rows, 0)
        ours = model.decoder.head(model.decoder.norm(hidden))
        for row, view in enumerate(views):
            length = int(rows.length[row])
            theirs = loaded(**row_inputs(model, view, rows.ids[row, :length])).logits[0]
            assert torch.allclose(ours[row, :length], theirs, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", SPECS)
def test_there_and_back(family: str, what: str, tmp_path: Path) -> None:
    one = made(family, what)
    export(one, tmp_path, base(family))
    back = import_peft(tmp_path, base(family))
    assert names(back) == names(one)
    assert all(torch.equal(back[name], one[name]) for name in names(one))


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_that_plain_peft_made(family: str, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = base(family)
    text = "text_model" if family in ("idefics3", "smolvlm") else "language_model"
    theirs = get_peft_model(reference(family), LoraConfig(r=2, lora_alpha=4, target_modules=rf".*{text}.*(q|v)_proj",
                                                          init_lora_weights=False))  # fmt: skip
    theirs.save_pretrained(tmp_path)
    one = import_peft(tmp_path, model)
    assert len(names(one)) == 3 * 2 * 3
    views, rows = mixed_rows(model)
    with torch.no_grad(), model.wearing(expand(one, 1)):
        hidden = model.run(model.embed(rows, model.features(views)), rows, 0)
        ours = model.decoder.head(model.decoder.norm(hidden[0, : int(rows.length[0])]))
        expected = theirs.eval()(**row_inputs(model, views[0], rows.ids[0, : int(rows.length[0])])).logits[0]
    assert torch.allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_the_lines_of_the_card_load_it(family: str, tmp_path: Path) -> None:
    export(made(family, "decoder"), tmp_path, base(family))
    card = (tmp_path / CARD).read_text()
    lines = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(tmp_path))
    assert f'from_pretrained("{folder(family)}")' in lines
    space: dict[str, Any] = {}
    exec(lines, space)
    assert type(space["model"].base_model.model) is type(base(family).model)


def test_modules_of_an_unknown_model(tmp_path: Path) -> None:
    export(made("llava", "decoder"), tmp_path, base("llava"))
    note = json.loads((tmp_path / "synoptic.json").read_text())
    (tmp_path / "synoptic.json").unlink()
    assert names(import_peft(tmp_path)) == names(made("llava", "decoder")), "the names of modules tell the towers"
    other = tmp_path / "adapter_config.json"
    other.write_text(other.read_text().replace("language_model", "speech_model"))
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "adapter_model.safetensors")
    save_file({name.replace("language_model", "speech_model"): t for name, t in tensors.items()},
              tmp_path / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises(
        SynopticError, match=r"weights for 'model.speech_model.*which is in no tower that Synoptic knows"
    ):
        import_peft(tmp_path)
    (tmp_path / "synoptic.json").write_text(json.dumps(note | {"fingerprint": "0" * 16}))
    with pytest.raises(SynopticError, match="was made for"):
        import_peft(tmp_path, base("llava"))
