"""Qwen2-VL and Qwen2.5-VL: pictures keep their shape, so each has its own grid, and positions have three directions.

Legend: N rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from synoptic.models.answerer.families import Family, Grid, Pictures, View


class QwenVL(Family):
    """A picture is a grid (frames, height, width) of patches, of which ``spatial_merge_size`` squared are one token."""

    text, vision, connector = "model.language_model", "model.visual", "model.visual.merger"
    around = ("<|vision_start|>", "<|vision_end|>")

    def __init__(self, model: Any, processor: Any, tokenizer: Any) -> None:
        super().__init__(model, processor, tokenizer)
        self._merge: int = model.config.vision_config.spatial_merge_size

    def views(self, pictures: Pictures) -> list[View]:
        """Patches ``[patches, values]`` of each picture."""
        found = self._processor(images=list(pictures), return_tensors="pt")
        grids = found["image_grid_thw"]
        parts = found["pixel_values"].split(grids.prod(-1).tolist())
        return [View(part, tuple(grid)) for part, grid in zip(parts, grids.tolist(), strict=True)]

    def features(self, views: Sequence[View]) -> list[Tensor]:
        """See `Family.features`."""
        device = self.model.device
        pixels = torch.cat([view.pixels for view in views]).to(device)
        grids = torch.tensor([view.grid for view in views], device=device)
        return list(self.model.get_image_features(pixel_values=pixels, image_grid_thw=grids).pooler_output)

    def tokens(self, grid: Grid) -> int:
        """See `Family.tokens`."""
        frames, height, width = grid
        return frames * height * width // self._merge**2

    def shift(self, grid: Grid) -> int:
        """A picture takes as many positions as its longer side has tokens."""
        return max(grid[1:]) // self._merge - self.tokens(grid)

    def positions(self, length: int, first_N: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Positions ``[3, N, T]``: words count on; a picture's tokens have a frame, a row and a column.

        As the library's ``get_rope_index`` gives them for one picture in each row.
        """
        device = first_N.device
        sizes = [
            (self.tokens(grid), self.shift(grid), grid[1] // self._merge, grid[2] // self._merge) for grid in grids
        ]
        tokens_N, shift_N, height_N, width_N = torch.tensor(sizes, device=device).T[..., None]
        place_NT = torch.arange(length, device=device).expand(len(grids), -1)
        inside_NT = place_NT - first_N[:, None]
        word_NT = place_NT + torch.where(inside_NT >= tokens_N, shift_N, 0)
        seen_NT = (inside_NT >= 0) & (inside_NT < tokens_N)
        across = torch.stack([inside_NT // (height_N * width_N), inside_NT // width_N % height_N, inside_NT % width_N])
        return torch.where(seen_NT, across + first_N[:, None], word_NT)

    def later(self, positions_NG: Tensor) -> Tensor:
        """Words have the same position in all three directions."""
        return positions_NG.expand(3, *positions_NG.shape)
