from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from answerers import CHAT, base, folder, tokenizer, write
from synoptic.adapters.spec import AdapterSpec
from synoptic.core import SynopticError
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decoder import Decoder
from synoptic.models.answerer.prompts import Prompts
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import load_dual_encoder, load_model, shared_dual_encoder, shared_model


def test_the_configuration_says_which_kind_of_model_it_is() -> None:
    assert isinstance(load_model("tiny-clip"), DualEncoder)
    assert isinstance(load_model(str(folder("llava"))), Answerer)
    assert shared_model("tiny-clip", "float32") is shared_dual_encoder("tiny-clip", "float32")


def test_an_answerer_is_no_dual_encoder_and_the_other_way_round() -> None:
    with pytest.raises(
        SynopticError, match=r"is a llava model, not a dual encoder Synoptic knows; use one of .*clip, siglip"
    ):
        load_dual_encoder(str(folder("llava")))
    with pytest.raises(SynopticError, match="tiny-clip is a dual encoder and has no connector between its towers"):
        shared_model("tiny-clip").new_adapter(AdapterSpec.model_validate({"connector": "lora"}), 0)


def test_an_unknown_family_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip"}))
    known = r"use a dual encoder \(clip, siglip\) or a model that answers .*llava, qwen2_vl, .*smolvlm"
    with pytest.raises(SynopticError, match=rf"is a blip model, which Synoptic does not know; {known}"):
        load_model(str(tmp_path))


def test_preprocessing_and_image_tower_must_agree(tmp_path: Path) -> None:
    config = write(tmp_path, "llava") / "preprocessor_config.json"
    sizes = {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}
    config.write_text(json.dumps(json.loads(config.read_text()) | sizes))
    with pytest.raises(
        SynopticError, match="cannot read pictures of 40 x 40, which the preprocessing makes; set its size"
    ):
        load_model(str(tmp_path))


def test_a_decoder_of_another_kind_is_refused() -> None:
    from transformers import Gemma2Config, Gemma2Model

    config = Gemma2Config(vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, head_dim=8,
                          num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    odd = Decoder(Gemma2Model(config).eval(), torch.nn.Linear(16, 20), "text")
    with pytest.raises(SynopticError, match=r"'it' has a gemma2 decoder, which Synoptic cannot cut open; use .*Llama"):
        odd.check("it")


@pytest.mark.parametrize("kind", ["Mistral", "Qwen2", "Qwen3"])
def test_other_decoders_of_the_llama_kind_are_cut_open(kind: str) -> None:
    import transformers

    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8}
    config = getattr(transformers, f"{kind}Config")(**sizes, num_attention_heads=2, num_key_value_heads=1)
    decoder = Decoder(getattr(transformers, f"{kind}Model")(config).eval(), torch.nn.Linear(16, 20), "text")
    decoder.check("it")
    assert decoder.short


def test_the_fingerprint_tells_models_apart(tmp_path: Path) -> None:
    first = base("llava").fingerprint
    assert load_model(str(write(tmp_path / "same", "llava"))).fingerprint == first
    assert load_model(str(write(tmp_path / "other", "llava", seed=1))).fingerprint != first
    config = tmp_path / "same" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vision_feature_select_strategy": "full"}))
    assert load_model(str(tmp_path / "same")).fingerprint != first, "what no weight tells counts too"


def prompts(words: Any, length: int = 96) -> Prompts:
    return Prompts(base("llava").family, words, length)


def test_without_a_template_the_picture_comes_first() -> None:
    assert prompts(tokenizer()).text("what is it ?") == "<image>what is it ? "
    qwen = Prompts(base("qwen2_vl").family, tokenizer(), 96)
    assert qwen.text("what ?") == "<|vision_start|><image><|vision_end|>what ? "


def test_a_chat_template_is_used() -> None:
    some = prompts(tokenizer(chat=True))
    assert some.text("what ?") == "<image>what ? it is "
    rows = some.encode(["what ?"], [()], ["red"], ["a row"])
    words = tokenizer().convert_ids_to_tokens(rows.ids[0].tolist())
    assert words == ["<s>", *["<image>"] * 16, "what", "?", "it", "is", "red", "</s>"]
    assert (int(rows.prompt[0]), int(rows.first[0])) == (21, 1)


@pytest.mark.parametrize("file", ["chat_template.jinja", "chat_template.json", None])
def test_a_template_lies_beside_the_tokenizer(file: str | None, tmp_path: Path) -> None:
    write(tmp_path, "llava")
    template = CHAT.replace("{{ image }}", "<image>")
    if file is not None:
        text = template if file.endswith("jinja") else json.dumps({"chat_template": template})
        (tmp_path / file).write_text(text)
    model = load_model(str(tmp_path))
    assert isinstance(model, Answerer)
    assert model.prompts.text("what ?") == ("<image>what ? " if file is None else "<image>what ? it is ")


def test_a_template_that_begins_the_text_is_not_begun_twice_and_ends_are_left_out() -> None:
    words = tokenizer()
    words.chat_template = "<s> " + CHAT.replace("{{ image }}", "<image>")
    rows = prompts(words).encode(["what ?"], [()], None, ["a row"])
    assert rows.ids[0].tolist().count(words.bos_token_id) == 1
    from tokenizers import processors

    ending = tokenizer()
    ending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert ending("red")["input_ids"][-1] == 2
    rows = prompts(ending).encode(["what ?"], [()], ["red"], ["a row"])
    assert rows.ids[0].tolist().count(2) == 1, "behind the answer only"


def test_templates_and_tokenizers_that_cannot_be_used() -> None:
    words = tokenizer()
    words.chat_template = CHAT.replace("{{ image }}", "")
    with pytest.raises(
        SynopticError, match="the chat template puts 0 pictures into the prompt of a row; use a template"
    ):
        prompts(words).encode(["what ?"], [()], None, ["a row"])
    endless = tokenizer()
    endless.eos_token = None
    with pytest.raises(
        SynopticError, match="the tokenizer has no end token, so no answer could end; set its eos_token"
    ):
        prompts(endless)
    with pytest.raises(
        SynopticError, match="the prompt of a row has 0 image tokens where its picture has 16; check the"
    ):
        prompts(tokenizer(special=False)).encode(["what ?"], [()], None, ["a row"])
