"""`synoptic watch`: follow a run of another process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from synoptic.cli.app import Debug, app
from synoptic.cli.run import Csv, TensorBoard, To, subscriptions

if TYPE_CHECKING:
    from rich.console import Console

    from synoptic.experiment.subscribers import Subscriptions

STOPPED = 1


@app.command("watch")
def watch_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", hidden=True)],
    once: Annotated[bool, typer.Option("--once", help="Show how far it is, and end.")] = False,
    csv: Csv = False,
    tensorboard: TensorBoard = False,
    to: To = None,
    debug: Debug = False,
) -> None:
    """Follow a run of another process.

    RUN is a run's folder; of a folder of runs, all are listed. With --csv or --tensorboard the numbers are written from
    the run's log, also those of a run that ended long ago. Ctrl-C ends the watching, not the run.

    Exit status: 0 if the run has finished, or with --once still runs; 1 if it stopped before its end; 130 after Ctrl-C.
    """
    from synoptic.experiment.display import output

    with subscriptions(csv, tensorboard, to) as others:
        if run.is_dir() and not (run / "recipe.yaml").exists() and any(run.glob("*/recipe.yaml")):
            if others.wanted:
                raise click.UsageError(f"{run} holds several runs; name one of them")
            _list(output(), run)
        elif once:
            _show(output(), run, others)
        else:
            _follow(output(), run, others)


def _list(console: Console, folder: Path) -> None:
    from synoptic.experiment.display.states import show_states
    from synoptic.experiment.run_state import read_states

    show_states(console, read_states(folder))


def _show(console: Console, run: Path, others: Subscriptions) -> None:
    from synoptic.experiment.display import show_result
    from synoptic.experiment.display.states import show_state
    from synoptic.experiment.run_state import read_state

    state = read_state(run)
    others.finish(run)
    for path in others.paths:
        typer.echo(f"written: {path}")
    if state.status == "finished":
        show_result(console, run, state.summary)
        return
    show_state(console, state)
    if state.status == "stopped":
        raise typer.Exit(STOPPED)


def _follow(console: Console, run: Path, others: Subscriptions) -> None:
    from synoptic.experiment.display import LineWatcher, show_result, watch
    from synoptic.experiment.display.states import show_progress
    from synoptic.experiment.folder import RunFolder
    from synoptic.experiment.follow import News, follow
    from synoptic.experiment.run_state import read_state

    def take(news: News) -> None:
        for event in news.events:
            watcher(event)
        others.take(RunFolder(run), news)

    def say(sentence: str) -> None:
        LineWatcher(console).say(sentence, "yellow")

    with watch(console, quiet=False, cohorts=False) as watcher:
        summary = follow(run, take, say)
    for path in others.paths:
        typer.echo(f"written: {path}")
    if summary:
        show_result(console, run, summary)
        return
    show_progress(console, read_state(run))
    raise typer.Exit(STOPPED)
