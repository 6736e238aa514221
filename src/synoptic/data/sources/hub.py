"""Data sets of the Hugging Face hub, through `datasets`."""

from __future__ import annotations

from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.data.sources.asking import asking_source
from synoptic.data.sources.frame import Frame, frames_source
from synoptic.data.sources.source import Source
from synoptic.data.spec import DataSpec


def hub_source(spec: DataSpec) -> Source:
    """Load ``spec.path``, an id such as "owner/name" or "owner/name:configuration", from the hub or its local cache."""
    name, _, configuration = (spec.path or "").partition(":")
    parts = _load(name, configuration or None)
    if "train" not in parts:
        raise SynopticError(f"{name} has no train split, only {', '.join(parts)}", "choose another data set")
    held = next((parts[split] for split in ("test", "validation") if split in parts), None)
    test = None if held is None else _frame(f"{name}/test", held)
    made = asking_source if spec.asks else frames_source
    return made(name, _frame(f"{name}/train", parts["train"]), test, spec)


def _load(name: str, configuration: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, configuration)
    except ConnectionError as error:
        raise SynopticError(
            f"the hub cannot be reached for {name}", "go online once to fill the cache, or use parquet:PATH"
        ) from error
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError) as error:
        raise SynopticError(
            f"there is no data set {name} on the hub or in the cache",
            "check the id, log in, or go online",
        ) from error
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetGenerationError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise SynopticError(f"{name} cannot be loaded ({reason})", "check the id and its configuration") from error


def _frame(name: str, part: Any) -> Frame:
    import datasets

    words = {
        column: tuple(feature.names)
        for column, feature in part.features.items()
        if isinstance(feature, datasets.ClassLabel) and feature.names
    }
    return Frame(name, part.data.table, words, part._fingerprint)
