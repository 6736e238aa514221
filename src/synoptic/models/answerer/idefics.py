"""Idefics3 and SmolVLM: a picture is cut into frames, each of which becomes the same number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from synoptic.models.answerer.families import Family, Grid, Pictures, View


class Idefics(Family):
    """A picture's grid is (rows, columns) of its frames; one more shows it whole. (0, 0) is that one alone."""

    text, vision, connector = "model.text_model", "model.vision_model", "model.connector"

    def __init__(self, model: Any, processor: Any, tokenizer: Any) -> None:
        super().__init__(model, processor, tokenizer)
        config = model.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        self._frame: int = side**2 // config.scale_factor**2
        self._fake = getattr(tokenizer, "fake_image_token", "<fake_token_around_image>")
        self._whole = getattr(tokenizer, "global_image_token", "<global-img>")

    def views(self, pictures: Pictures) -> list[View]:
        """Frames ``[frames, 3, H, W]`` of each picture, one picture at a time: together they would be padded."""
        views = []
        for picture in pictures:
            found = self._processor(images=[[picture]], return_row_col_info=True, return_tensors="pt")
            views.append(View(found["pixel_values"][0], (found["rows"][0][0], found["cols"][0][0])))
        return views

    def features(self, views: Sequence[View]) -> list[Tensor]:
        """See `Family.features`."""
        frames = torch.cat([view.pixels for view in views])[:, None].to(self.model.device)
        found = torch.cat(list(self.model.get_image_features(pixel_values=frames).pooler_output))
        return list(found.split([self.tokens(view.grid) for view in views]))

    def tokens(self, grid: Grid) -> int:
        """See `Family.tokens`."""
        return self._frame * (grid[0] * grid[1] + 1)

    def placeholder(self, grid: Grid) -> str:
        """Every frame with its place, as the family's processors write it."""
        frame = self.image * self._frame
        whole = f"{self._fake}{self._whole}{frame}{self._fake}"
        if grid == (0, 0):
            return whole
        rows = ["".join(f"{self._fake}<row_{row + 1}_col_{column + 1}>{frame}" for column in range(grid[1])) + "\n"
                for row in range(grid[0])]  # fmt: skip
        return "".join(rows) + f"\n{whole}"
