"""`synoptic task`: what a model of several tasks is for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer

from synoptic.cli.app import Debug, app, at_least


@app.command("task")
def task_command(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", hidden=True)],
    name: Annotated[str | None, typer.Argument(metavar="[TASK]", hidden=True)] = None,
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A picture; may be repeated.")] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="A text; may be repeated.")] = None,
    test: Annotated[
        int | None, typer.Option(metavar="N", callback=at_least(0),
                                 help="Instead: N of the run's own test rows; 0 is all."),
    ] = None,
    client: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="In a run or an export: this client's adapter.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where reconstructed pictures are written.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the base is, if not where the adapter says.")
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", callback=at_least(1), show_default=False,
                          help="Labels for each row; default 3."),
    ] = 3,
    tokens: Annotated[
        int, typer.Option(metavar="N", callback=at_least(1), show_default=False,
                          help="Longest text, in tokens; default 32."),
    ] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Do a task with a model of several tasks.

    ADAPTER is the folder of a run, an exported folder, or a folder of blocks.
    Without --image, --text and --test its tasks are listed. A task that reads
    pictures and texts takes one --text for all pictures, one --image for all
    texts, or one of each.
    """
    from synoptic.experiment import perform
    from synoptic.experiment.display import output, performed

    if test is not None and (image or text or base):
        raise click.UsageError("--test takes the run's own rows; leave out --image, --text and --base")
    if test is None and name is None and not (image or text):
        tasks = perform.tasks_of(adapter, base, client)
        if as_json:
            typer.echo(performed.tasks_json(tasks))
        else:
            performed.show_tasks(output(), tasks)
        return
    how = perform.How(top, tokens, out)
    if test is not None:
        done = perform.perform_tests(adapter, name, test, client, how)
    else:
        done = perform.perform(adapter, name, image or [], text or [], base, client, how)
    if as_json:
        typer.echo(performed.performed_json(done))
    else:
        performed.show_performed(output(), done)
