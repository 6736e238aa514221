"""Metrics for TensorBoard, through the writer that PyTorch has; the package itself is an extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.experiment.keys import value_text
from synoptic.experiment.records import flat
from synoptic.experiment.subscribers.rows import Event, Rows
from synoptic.experiment.yaml_text import dump_yaml

SHOWN_AT_ONCE = ("round", "run_finished")
"""Events after which the file is brought up to date, so that a page that is open shows them."""


def require_tensorboard() -> None:
    """Refuse before a run begins rather than after its first round.

    Raises:
        SynopticError: the package is not installed.
    """
    if find_spec("tensorboard") is None:
        raise SynopticError("--tensorboard needs the package tensorboard, which is not installed",
                            "install it with: pip install tensorboard")  # fmt: skip


class TensorBoard:
    """Scalars by name over rounds done, the recipe as text and as hyper-parameters.

    Args:
        path: folder where the files go, one run in each; made if it is not there.
        recipe: the resolved recipe as plain values.
    """

    option = "--tensorboard"

    def __init__(self, path: Path, recipe: Mapping[str, Any]) -> None:
        self.path = path
        self._recipe = recipe
        self._rows = Rows()
        self._writer: Any = None

    def begin(self, events: Sequence[Event]) -> None:
        """Write everything anew; the viewer then forgets what older files of the folder say."""
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        self._rows = Rows()
        older = self.path.exists() and any(self.path.iterdir())
        self._writer = SummaryWriter(str(self.path), purge_step=0 if older else None)
        self._writer.add_text("recipe", f"```yaml\n{dump_yaml(self._recipe)}```", 0)
        for event in events:
            self._add(event)
        self._writer.flush()

    def tell(self, event: Event) -> None:
        """Add one event's numbers."""
        self._add(event)
        if event["type"] in SHOWN_AT_ONCE:
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add(self, event: Event) -> None:
        for row in self._rows.of(event):
            self._writer.add_scalar(row.name, row.value, row.round, walltime=event["time"])
        if event["type"] == "run_finished":
            self._add_settings(event["summary"]["metrics"])

    def _add_settings(self, metrics: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        plain = (bool, int, float, str)
        settings = {
            name: value if isinstance(value, plain) else value_text(value) for name, value in flat(self._recipe)
        }
        accuracies = {name: value for name, value in metrics.items() if "/accuracy/" in name}
        # `add_hparams` of the writer would make a run of its own, beside this one.
        for part in hparams(settings, accuracies):
            self._writer.file_writer.add_summary(part)
