"""Pre-training an embedded model, with its progress shown."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from synoptic.core.errors import SynopticError, nearest
from synoptic.experiment.display.numbers import seconds_text

LINES = 20
"""Lines about progress where the output is no terminal."""


def pretrain_embedded(name: str, folder: Path, seed: int, steps: int | None) -> None:
    """Train the embedded model ``name`` into ``folder``, which must be new or empty.

    Raises:
        SynopticError: no such model, or a folder that holds something.
    """
    from synoptic.experiment.display import output
    from synoptic.models.card import write_card
    from synoptic.models.pretraining import SPECS, pretrain

    if name not in SPECS:
        raise SynopticError(f"there is no embedded model called '{name}'", nearest(name, SPECS))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SynopticError(f"{folder} exists already", "remove it or set --out to another folder")
    if steps is not None and steps < 1:
        raise SynopticError(f"--steps {steps} trains nothing", "use at least 1")
    spec = SPECS[name]() if steps is None else SPECS[name](steps=steps)
    console = output()
    show = Progress(console, spec.steps)
    with show:
        pretrain(folder, spec, seed, show)
    write_card(folder, spec, seed)
    console.print(Text(f"model folder: {folder}"), soft_wrap=True)


class Progress:
    """Step, loss and time left: redrawn in place on a terminal, a few lines elsewhere."""

    def __init__(self, console: Console, steps: int) -> None:
        from time import perf_counter

        self._console, self._steps = console, steps
        self._now = perf_counter
        self._started = perf_counter()
        self._status = console.status("getting ready", spinner="line")
        self._live = console.is_terminal and not console.is_dumb_terminal

    def __enter__(self) -> None:
        if self._live:
            self._status.start()

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, step: int, loss: float) -> None:
        """After step ``step``, counted from 0."""
        done = step + 1
        left = (self._now() - self._started) / done * (self._steps - done)
        line = f"step {done}/{self._steps}  loss {loss:.4g}  {seconds_text(left)} left"
        if self._live:
            self._status.update(line)
        elif done % max(self._steps // LINES, 1) == 0 or done == self._steps:
            self._console.print(Text(line), soft_wrap=True)
