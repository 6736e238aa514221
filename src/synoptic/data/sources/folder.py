"""Folders of images: train/<class>/* and test/<class>/*, or <class>/* alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from synoptic.core.errors import SynopticError
from synoptic.data.images import FileImages
from synoptic.data.sources.source import Source, split_off
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def folder_source(spec: DataSpec) -> Source:
    """List the files; class names are the folders' names, "_" read as a space. Nothing is opened yet.

    Without train/ and test/ a fifth of every class is set aside for testing, always the same.
    """
    root = Path(spec.path or "").expanduser()
    if not root.is_dir():
        raise SynopticError(f"{root} is no folder", "check data.path")
    parts = [root / "train", root / "test"]
    if not parts[0].is_dir():
        table = _table(root.name, root, _classes([root]), spec)
        rows, held = split_off(table.labels)
        return Source(table.take(rows), table.take(held))
    if not parts[1].is_dir():
        raise SynopticError(f"{root} has train/ but no test/", "add test/<class>/, or put the classes in one folder")
    classes = _classes(parts)
    train, test = (_table(f"{root.name}/{part.name}", part, classes, spec) for part in parts)
    return Source(train, test)


def _classes(parts: list[Path]) -> list[str]:
    names = sorted({entry.name for part in parts for entry in part.iterdir() if entry.is_dir() and _listed(entry)})
    if not names:
        raise SynopticError(f"{parts[0]} has no class folder with images", f"put images in {parts[0]}/<class>/")
    return names


def _listed(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _table(name: str, part: Path, classes: list[str], spec: DataSpec) -> ExampleTable:
    words = tuple(name.replace("_", " ") for name in classes)
    if spec.class_names is not None:
        if len(spec.class_names) != len(words):
            raise SynopticError(
                f"data.class_names has {len(spec.class_names)} words, but {part} has {len(words)} classes",
                "give one word per class, in alphabetical order of the folders",
            )
        words = spec.class_names
    files = [_listed(part / name) if (part / name).is_dir() else [] for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(listed) for listed in files])
    paths = tuple(file for listed in files for file in listed)
    return ExampleTable(name, FileImages(paths), labels.astype(np.int64), words)
