"""Synoptic: federated vision-language models.

>>> import synoptic
>>> result = synoptic.run("fedavg", data="world", rounds=5)  # doctest: +SKIP
>>> result.metrics["shared/base/accuracy/mean"]  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synoptic.core.errors import SynopticError
    from synoptic.experiment.recipe import Recipe, load_recipe
    from synoptic.experiment.runner import Observer, RunResult

__version__ = "0.1.0"
__all__ = ["Recipe", "RunResult", "SynopticError", "__version__", "load_recipe", "resume", "run"]

_HOMES = {
    "Recipe": "synoptic.experiment.recipe",
    "RunResult": "synoptic.experiment.runner",
    "SynopticError": "synoptic.core.errors",
    "load_recipe": "synoptic.experiment.recipe",
}


def run(
    what: str | Path | Recipe, *overrides: str, observers: Sequence[Observer] = (), **keywords: Any
) -> RunResult:  # fmt: skip
    """Run a recipe in a new folder.

    Args:
        what: a method's name, the path of a YAML file, or a recipe.
        overrides: settings as on the command line, ``"train.lr=0.01"``.
        observers: called with every event of the run, in order.
        keywords: settings, ``data="world"``, ``train={"lr": 0.01}`` or ``**{"train.lr": 0.01}``.

    Raises:
        SynopticError: what a user can mend, in one sentence.
    """
    from synoptic.experiment import runner
    from synoptic.experiment.recipe import Recipe, load_recipe

    if not isinstance(what, Recipe):
        return runner.run(load_recipe(what, overrides, **keywords), observers)
    if overrides or keywords:
        raise TypeError("a finished recipe takes no settings; give them to load_recipe")
    return runner.run(what, observers)


def resume(folder: str | Path, observers: Sequence[Observer] = ()) -> RunResult:
    """Go on where a run stopped; ``folder`` is the run's own, such as ``runs/<id>``."""
    from pathlib import Path

    from synoptic.experiment import runner

    return runner.resume(Path(folder), observers)


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import; `import synoptic` and `synoptic --help` do without.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'synoptic' has no attribute '{name}'")
