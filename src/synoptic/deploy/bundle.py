"""Synoptic as a Flower app: the bundle that a stock node fetches from the server before it answers.

It is one ``pyproject.toml`` that names two objects of `synoptic.deploy.apps`. What runs at a node is the Synoptic that
is installed there; the bundle holds no code.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from synoptic.deploy import flower

FOLDER = Path(__file__).parent / "app"
"""The app as a folder, for ``flwr run``."""

NAME, VERSION = "synoptic/synoptic", "1.0.0"
"""As the folder's ``pyproject.toml`` has them."""


@cache
def make_bundle() -> flower.Fab:
    """The app as Flower sends it; the same bytes every time."""
    content, _ = flower.build_fab_from_files({"pyproject.toml": FOLDER / "pyproject.toml"})
    return flower.Fab(hashlib.sha256(content).hexdigest(), content, {})
