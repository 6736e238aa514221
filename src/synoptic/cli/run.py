"""`synoptic run`: a recipe, or going on with one."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from synoptic.cli.app import INTERRUPTED, Debug, RecipeCommand, Settings, app

if TYPE_CHECKING:
    from synoptic.experiment.recipe import Recipe
    from synoptic.experiment.runner import Observer, RunResult
    from synoptic.experiment.subscribers import Subscriptions

Csv = Annotated[bool, typer.Option("--csv", help="Write metrics.csv as well: round, seconds, name, value.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write tensorboard/ as well.")]
To = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where these go, below the run's name; default the run's folder.")
]


def subscriptions(csv: bool, tensorboard: bool, to: Path | None) -> Subscriptions:
    """Who else is told of a run, by the options of a command."""
    if to is not None and not (csv or tensorboard):
        raise click.UsageError("--to says where --csv and --tensorboard write; give one of them")
    from synoptic.experiment.subscribers import Subscriptions

    return Subscriptions(csv, tensorboard, to, lambda sentence: typer.echo(sentence, err=True))


@app.command("run", cls=RecipeCommand)
def run_command(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", hidden=True)] = None,
    settings: Settings = None,
    resume: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Go on with a run that stopped.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the run folder, at the end.")] = False,
    csv: Csv = False,
    tensorboard: TensorBoard = False,
    to: To = None,
    debug: Debug = False,
) -> None:
    """Run a recipe, or go on with one.

    RECIPE is a method's name or a YAML file; KEY=VALUE settings are laid over it.
    """
    if (recipe is None) == (resume is None):
        raise click.UsageError("give either a RECIPE (a method or a YAML file) or --resume FOLDER, which has its own")
    if recipe is not None and "=" in recipe and not Path(recipe).exists():
        raise click.UsageError(f"name a method or a YAML file before the setting '{recipe}'")
    from synoptic.experiment.display import output, show_result, watch

    # A terminated run tells how to go on, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = output()
    watcher = watch(console, quiet)
    try:
        with watcher:
            # A recipe with a mistake is told before the seconds that importing the runner takes.
            described = _described(recipe, settings or [])
            with subscriptions(csv, tensorboard, to) as others:
                result = _go(described, resume, [watcher, others])
                others.finish(result.folder)
    except KeyboardInterrupt:
        _say_how_to_resume(watcher.folder or (str(resume) if resume else None), watcher.rounds_done)
        raise typer.Exit(INTERRUPTED) from None
    if quiet:
        typer.echo(result.folder)
    else:
        show_result(console, result.folder, result.summary)
        for path in others.paths:
            typer.echo(f"written: {path}")


def _described(recipe: str | None, settings: Sequence[str]) -> Recipe | None:
    from synoptic.experiment.recipe import load_recipe

    return load_recipe(recipe, settings) if recipe is not None else None


def _go(recipe: Recipe | None, resume: Path | None, observers: list[Observer]) -> RunResult:
    from synoptic.experiment import runner

    if recipe is not None:
        return runner.run(recipe, observers)
    assert resume is not None
    return runner.resume(resume, observers)


def _say_how_to_resume(folder: str | None, rounds: int | None) -> None:
    import shlex

    if folder is None:
        typer.echo("stopped before the run had a folder; nothing to resume", err=True)
    else:
        done = f" with {rounds} rounds done" if rounds is not None else ""
        typer.echo(f"stopped{done}; go on: synoptic run --resume {shlex.quote(folder)}", err=True)
