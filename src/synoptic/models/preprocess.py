"""Images to pixels, exactly as the checkpoint's own processor does it, with a fast way for arrays of the right size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.files import digest


class Preprocess:
    """A Hugging Face image processor (PIL and numpy; no torchvision) behind one call.

    Args:
        processor: from ``AutoImageProcessor``.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        size = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
        size = dict(size or processor.size)
        self.size: int = size.get("height") or size["shortest_edge"]
        self.fingerprint: str = digest(processor.to_json_string())
        self._mean = torch.tensor(processor.image_mean).view(1, 3, 1, 1)
        self._std = torch.tensor(processor.image_std).view(1, 3, 1, 1)
        # Resizing and cropping leave a picture of exactly this size alone only when both mean this size.
        sides = {side for edges in (processor.size, size) for side in dict(edges).values() if side}
        self._plain = bool(processor.do_rescale and processor.do_normalize and sides == {self.size})
        self._factor = float(processor.rescale_factor)

    def __call__(self, images: Sequence[Image] | NDArray[Any]) -> Tensor:
        """Pixels ``[N, 3, H, W]`` float32 of PIL images or a uint8 array ``[N, H, W, 3]``.

        Raises:
            SynopticError: an array of another shape or type.
        """
        if isinstance(images, np.ndarray):
            if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
                raise SynopticError(f"images of shape {images.shape} and type {images.dtype} cannot be read",
                                    "give uint8 arrays [N, H, W, 3] or PIL images")  # fmt: skip
            if self._plain and images.shape[1] == images.shape[2] == self.size:
                pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
                return (pixels * self._factor - self._mean) / self._std
        result: Tensor = self._processor(images=_coloured(images), return_tensors="pt")["pixel_values"]
        return result

    def pictures(self, pixels: Tensor) -> NDArray[np.uint8]:
        """The way back: pixels ``[N, 3, H, W]`` as uint8 pictures ``[N, H, W, 3]``, cut off at black and white."""
        shown = (pixels.float().cpu() * self._std + self._mean) / self._factor
        return shown.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _coloured(images: Sequence[Image] | NDArray[Any]) -> list[Any]:
    # Not every processor converts grey and palette pictures itself.
    return list(images) if isinstance(images, np.ndarray) else [image.convert("RGB") for image in images]
