"""What differs between families of generative models: their pictures, placeholders, positions, and where things lie.

A picture becomes a `View`, which stays an object until a batch is made of it: pictures of one batch may have different
grids, and nothing is ever cut out of a concatenated tensor by a guessed length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.models.preprocess import Preprocess

Pictures = Sequence[Image] | NDArray[Any]
Grid = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """One picture as its family's image tower takes it, and how it was cut up."""

    pixels: Tensor
    grid: Grid


class Family(ABC):
    """One family of generative models.

    Args:
        model: from ``AutoModelForImageTextToText``.
        processor: from ``AutoImageProcessor``.
        tokenizer: the model's.
    """

    text: str
    vision: str
    connector: str
    """Module paths of the language decoder, the image tower and what lies between."""

    sized = True
    """Whether a picture's size decides how it is cut up."""

    around = ("", "")
    """What stands before and after a picture's tokens where no chat template says so."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any) -> None:
        self.model = model
        self._processor = processor
        self.fingerprint: str = digest(processor.to_json_string())
        self.image_id: int = model.config.image_token_id
        self.image: str = tokenizer.convert_ids_to_tokens(self.image_id)
        self._grids: dict[tuple[int, ...], Grid] = {}

    @property
    def vision_blocks(self) -> list[str]:
        """Module paths of the image tower's blocks, first to last."""
        tower: nn.Module = self.model.get_submodule(self.vision)
        path, blocks = next((name, part) for name, part in tower.named_modules() if isinstance(part, nn.ModuleList))
        return [f"{self.vision}.{path}.{i}" for i in range(len(blocks))]

    def grids(self, pictures: Pictures) -> list[Grid]:
        """How pictures are cut up, which their sizes decide."""
        return [self._grid(picture) for picture in pictures]

    def _grid(self, picture: Image | NDArray[Any]) -> Grid:
        size = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
        if size not in self._grids:
            one = picture[None] if isinstance(picture, np.ndarray) else [picture]
            self._grids[size] = self.views(one)[0].grid
        return self._grids[size]

    @abstractmethod
    def views(self, pictures: Pictures) -> list[View]:
        """Preprocessed pictures."""

    @abstractmethod
    def features(self, views: Sequence[View]) -> list[Tensor]:
        """What the decoder reads of each picture, ``[tokens, D]``, in the order of the views."""

    @abstractmethod
    def tokens(self, grid: Grid) -> int:
        """How many tokens of a prompt stand for a picture."""

    def placeholder(self, grid: Grid) -> str:
        """The text that stands for a picture in a prompt."""
        return self.image * self.tokens(grid)

    def positions(self, length: int, first_N: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Positions of ``length`` tokens, ``[1, T]``; ``first_N`` is where each row's picture begins."""
        return torch.arange(length, device=first_N.device)[None]

    def shift(self, grid: Grid) -> int:
        """Position minus place of the tokens behind a picture."""
        return 0

    def later(self, positions_NG: Tensor) -> Tensor:
        """Positions of tokens behind the prompt, as the decoder takes them."""
        return positions_NG


class Llava(Family):
    """LLaVA: an image tower of CLIP or SigLIP, a two-layer connector; every picture has as many tokens."""

    text, vision, connector = "model.language_model", "model.vision_tower", "model.multi_modal_projector"
    sized = False

    def __init__(self, model: Any, processor: Any, tokenizer: Any) -> None:
        super().__init__(model, processor, tokenizer)
        self._preprocess = Preprocess(processor)
        side = self._preprocess.size
        # Asked of the tower itself: what it drops and what it adds differs between CLIP and SigLIP.
        try:
            with torch.no_grad():
                self._tokens = len(self.features(self.views(np.zeros((1, side, side, 3), dtype=np.uint8)))[0])
        except (ValueError, RuntimeError) as error:
            what = f"the image tower cannot read pictures of {side} x {side}, which the preprocessing makes"
            raise SynopticError(what, "set its size to the tower's image_size") from error

    def tokens(self, grid: Grid) -> int:
        """See `Family.tokens`."""
        return self._tokens

    def views(self, pictures: Pictures) -> list[View]:
        """See `Family.views`."""
        return [View(pixels, ()) for pixels in self._preprocess(pictures)]

    def features(self, views: Sequence[View]) -> list[Tensor]:
        """See `Family.features`."""
        pixels = torch.stack([view.pixels for view in views]).to(self.model.device)
        return list(self.model.get_image_features(pixel_values=pixels).pooler_output)
