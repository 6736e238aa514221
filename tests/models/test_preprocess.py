from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import base
from synoptic.core import SynopticError
from synoptic.models.load import load_dual_encoder
from synoptic.models.preprocess import Preprocess


def pictures(n: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def preprocess(family: str) -> Preprocess:
    return load_dual_encoder("tiny-clip").preprocess if family == "tiny-clip" else base(family).preprocess


@pytest.mark.parametrize("family", ["clip", "siglip", "tiny-clip"])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (20, 20), (40, 32), (33, 57)])
def test_equals_the_checkpoints_own_processor(family: str, size: tuple[int, int]) -> None:
    ours, arrays = preprocess(family), pictures(3, *size)
    images = [Image.fromarray(array) for array in arrays]
    expected = ours._processor(images=images, return_tensors="pt")["pixel_values"]
    assert torch.allclose(ours(images), expected, atol=1e-6)
    assert torch.allclose(ours(arrays), expected, atol=1e-6)
    assert expected.shape == (3, 3, 32, 32)


@pytest.mark.parametrize("family", ["clip", "siglip", "tiny-clip"])
def test_pixels_go_back_to_the_picture(family: str) -> None:
    arrays = pictures(3, 32, 32)
    assert np.array_equal(preprocess(family).pictures(preprocess(family)(arrays)), arrays)
    bright = preprocess(family)(np.full((1, 32, 32, 3), 255, np.uint8)) + 1
    assert (preprocess(family).pictures(bright) == 255).all()


def processor(**settings: Any) -> Any:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
     {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 24}},
     {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_normalize": False}],
)  # fmt: skip
def test_the_fast_way_is_taken_only_where_it_is_the_same(settings: dict[str, Any]) -> None:
    arrays = pictures(2, 32, 32)
    expected = processor(**settings)(images=list(arrays), return_tensors="pt")["pixel_values"]
    ours = Preprocess(processor(**settings))(arrays)
    assert ours.shape == expected.shape
    assert torch.allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_pictures_of_other_modes_are_read_as_rgb(family: str, mode: str) -> None:
    image = Image.fromarray(pictures(1, 32, 32)[0]).convert(mode)
    assert torch.equal(preprocess(family)([image]), preprocess(family)([image.convert("RGB")]))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 32, 32), np.uint8), ((2, 32, 32, 3), np.float32), ((2, 3, 32, 32), np.uint8)]
)
def test_other_arrays(shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(SynopticError, match=r"images of shape .* cannot be read; give uint8 arrays \[N, H, W, 3\] or"):
        base().preprocess(np.zeros(shape, dtype))


def test_fingerprint_follows_the_settings() -> None:
    first, again, other = (Preprocess(processor(image_mean=[mean] * 3)).fingerprint for mean in (0.5, 0.5, 0.4))
    assert first == again != other
