from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers import SENTENCES, base, reference
from synoptic.core import SynopticError
from synoptic.models.dual_encoder import READY

FAMILIES = ("clip", "siglip")
DEPTHS = (0, 1, 2, 3, READY)


def pixels(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_images_equal_hugging_face_wherever_the_tower_is_cut(family: str, depth: int | str) -> None:
    model = base(family)
    with torch.no_grad():
        expected = reference(family).get_image_features(pixel_values=pixels()).pooler_output
        latent = model.image_latent(model.image_prefix(pixels(), depth), depth)
        whole = model.image_suffix(model.image_prefix(pixels(), depth), depth)
    assert torch.allclose(latent, expected, atol=1e-5)
    assert torch.allclose(whole, F.normalize(expected, dim=-1), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_texts_equal_hugging_face_wherever_the_tower_is_cut(family: str, depth: int | str) -> None:
    model = base(family)
    tokens = model.tokenize(SENTENCES)
    with torch.no_grad():
        expected = reference(family).get_text_features(input_ids=tokens.ids_NT).pooler_output
        ours = model.text_suffix(tokens, model.text_prefix(tokens, depth), depth, 1)
    assert ours.shape == (1, 3, model.dim)
    assert torch.allclose(ours[0], F.normalize(expected, dim=-1), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_hugging_face(family: str) -> None:
    model = base(family)
    tokens = model.tokenize(SENTENCES)
    with torch.no_grad():
        expected = reference(family)(input_ids=tokens.ids_NT, pixel_values=pixels()).logits_per_image
        image = model.image_suffix(model.image_prefix(pixels(), READY), READY).unsqueeze(0)
        text = model.text_suffix(tokens, model.text_prefix(tokens, READY), READY, 1)
    assert torch.allclose(model.logits(image, text)[0], expected, atol=1e-4)


def test_clip_pools_at_the_end_token_and_siglip_at_the_last_place() -> None:
    tokens = base("clip").tokenize(SENTENCES)
    assert tokens.ids_NT.shape == (3, 9), "padded to the longest text"
    assert tokens.pool_N.tolist() == [8, 2, 5]
    tokens = base("siglip").tokenize(SENTENCES)
    assert tokens.ids_NT.shape == (3, 16), "padded to the tower's length"
    assert tokens.pool_N.tolist() == [15, 15, 15]


def test_old_clip_configs_pool_at_the_highest_id(monkeypatch: pytest.MonkeyPatch) -> None:
    model = base("clip")
    ids = model.tokenize(SENTENCES).ids_NT
    monkeypatch.setattr(model.text._model.config, "eos_token_id", 2)
    assert model.text.tokens(ids).pool_N.tolist() == [8, 2, 5]


def test_long_texts_are_cut_and_still_end() -> None:
    tokens = base("clip").tokenize(["seven " * 40])
    assert tokens.ids_NT.shape == (1, 16)
    assert tokens.pool_N.tolist() == [15]


def prompt(clients: int, length: int) -> Tensor:
    return torch.randn(clients, length, 32, generator=torch.Generator().manual_seed(1))


def embed(family: str, clients: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Embedded texts with a prompt, less the position embeddings; pooled positions; the words alone."""
    model = base(family)
    tokens = model.tokenize(SENTENCES)
    with torch.no_grad():
        hidden, pool = model.text.embed_with_prompt(tokens, prompt(clients, length))
        positions = model.model.text_model.embeddings.position_embedding.weight[: hidden.shape[1]]
        words = model.model.text_model.embeddings.token_embedding(tokens.ids_NT)
    return hidden - positions, pool, words


def test_coop_layout_of_clip_start_context_words_end() -> None:
    clients, length = 2, 4
    hidden, pool, words = embed("clip", clients, length)
    hidden = hidden.view(clients, 3, -1, 32)
    assert hidden.shape[2] == 9 + length
    for k in range(clients):
        assert torch.allclose(hidden[k, :, 0], words[:, 0], atol=1e-6)
        assert torch.allclose(hidden[k, :, 1 : 1 + length], prompt(clients, length)[k].expand(3, -1, -1), atol=1e-6)
        assert torch.allclose(hidden[k, :, 1 + length :], words[:, 1:], atol=1e-6)
    assert pool.tolist() == [12, 6, 9] * clients


def test_siglip_prompts_lie_at_the_front_and_padding_falls_off() -> None:
    hidden, pool, words = embed("siglip", 1, 4)
    assert hidden.shape == (3, 16, 32)
    assert torch.allclose(hidden[:, :4], prompt(1, 4).expand(3, -1, -1), atol=1e-6)
    assert torch.allclose(hidden[:, 4:], words[:, :12], atol=1e-6)
    assert pool.tolist() == [15] * 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_no_length_is_no_prompt(family: str) -> None:
    model = base(family)
    tokens = model.tokenize(SENTENCES)
    nothing = {"text/prompt/context": torch.zeros(1, 0, 32), "vision/prompt/context": torch.zeros(1, 0, 32)}
    with torch.no_grad():
        bare_text = model.text_suffix(tokens, model.text_prefix(tokens, 0), 0, 1)
        bare_image = model.image_suffix(model.image_prefix(pixels(), 0), 0)
        with model.wearing(nothing):
            assert torch.allclose(model.text_suffix(tokens, model.text_prefix(tokens, 0), 0, 1), bare_text, atol=1e-6)
            assert torch.allclose(model.image_suffix(model.image_prefix(pixels(), 0), 0), bare_image, atol=1e-6)


def test_a_text_without_room_for_the_prompt() -> None:
    model = base("clip")
    with pytest.raises(SynopticError, match="a text of 16 tokens leaves no room for a prompt of 2 in 16; shorten the"):
        model.text.embed_with_prompt(model.tokenize(["seven " * 40]), prompt(1, 2))


def test_vision_prompts_are_appended_per_client() -> None:
    hidden = torch.randn(6, 17, 32)
    joined = base("clip").vision.insert_prompt(hidden, prompt(3, 2))
    assert joined.shape == (6, 19, 32)
    assert torch.equal(joined[:, :17], hidden)
    for row in range(6):
        assert torch.equal(joined[row, 17:], prompt(3, 2)[row // 2])
