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
    from synoptic.experiment.comparison.matrix import Comparison
    from synoptic.experiment.recipe import Recipe, load_recipe
    from synoptic.experiment.runner import Observer, RunResult
    from synoptic.models.load import base_folder as base_folder

__version__ = "0.1.0"
__all__ = [
    "Comparison", "Recipe", "RunResult", "SynopticError", "__version__", "compare", "load_recipe", "resume", "run",
]  # fmt: skip

_HOMES = {
    "Comparison": "synoptic.experiment.comparison.matrix",
    "Recipe": "synoptic.experiment.recipe",
    "RunResult": "synoptic.experiment.runner",
    "SynopticError": "synoptic.core.errors",
    "base_folder": "synoptic.models.load",
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


def compare(
    *words: str, seeds: int = 5, baseline: str | None = None, output: str | Path = "runs",
    observers: Sequence[Observer] = (),
) -> Comparison:  # fmt: skip
    """Run methods over seeds, reusing what is finished.

    Args:
        words: as on the command line: methods and settings, ``"fedavg", "local", "data=world"``, or a suite's file.
        seeds: how many, from 0 on.
        baseline: whom others are compared with; the first when left out.
        output: where runs lie.
        observers: called with every event of the suite, in order.

    Returns:
        Its ``tables()`` hold means, intervals and paired differences; ``groups`` the runs.

    Raises:
        SynopticError: what a user can mend, in one sentence.
    """
    from pathlib import Path

    from synoptic.experiment.comparison.matrix import run_suite
    from synoptic.experiment.comparison.suite import suite_of_words

    return run_suite(suite_of_words(words, seeds, baseline), Path(output), observers)


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
