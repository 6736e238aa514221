"""`synoptic ask`: questions about pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer

from synoptic.cli.app import Debug, app, at_least


@app.command("ask")
def ask_command(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", hidden=True)],
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A picture; may be repeated.")] = None,
    question: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="A question; may be repeated.")] = None,
    test: Annotated[
        int | None, typer.Option(metavar="N", callback=at_least(0),
                                 help="Instead: N of the run's own test questions; 0 is all."),
    ] = None,
    client: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="In a run or an export: this client's adapter.")
    ] = None,
    before: Annotated[bool, typer.Option("--before", help="Also what the untouched base says.")] = False,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the base is, if not where the adapter says.")
    ] = None,
    tokens: Annotated[
        int, typer.Option(metavar="N", callback=at_least(1), show_default=False,
                          help="Longest answer, in tokens; default 32."),
    ] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Ask a generative model about pictures.

    ADAPTER is the folder of a run, an exported folder, any LoRA folder in PEFT's
    format, or a base alone (tiny-vlm, a folder, a hub id). One --question may go
    with many --image, one --image with many --question, or one with each.
    """
    if test is not None and (image or question or base):
        raise click.UsageError("--test asks the run's own questions; leave out --image, --question and --base")
    if test is None and not (image and question):
        raise click.UsageError("give --image and --question, or --test N for questions of the run's own test part")
    from synoptic.experiment.ask import ask, ask_tests
    from synoptic.experiment.display import output
    from synoptic.experiment.display.answers import answers_json, show_answers

    if test is not None:
        asked = ask_tests(adapter, test, client, before, tokens)
    else:
        asked = ask(adapter, image or [], question or [], base, client, before, tokens)
    if as_json:
        typer.echo(answers_json(asked))
    else:
        show_answers(output(), asked)
