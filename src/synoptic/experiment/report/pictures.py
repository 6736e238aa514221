"""Pictures for the page: small PNG files as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 112
"""Pixels of the longer side, at most."""

SMALL = 64
"""Pictures below this are enlarged by whole pixels, so that a browser does not blur them."""


def data_uri(picture: Image.Image | NDArray[np.uint8]) -> str:
    """A picture as ``data:image/png;base64,...``."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image = image.convert("RGB")
    longer = max(image.size)
    if longer > SIDE:
        image.thumbnail((SIDE, SIDE))
    elif longer < SMALL:
        times = SIDE // longer
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
