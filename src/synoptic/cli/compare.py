"""`synoptic compare`: methods side by side over seeds."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import click
import typer

from synoptic.cli.app import INTERRUPTED, Debug, Fresh, Jobs, app

Words = Annotated[list[str], typer.Argument(metavar="METHOD... [KEY=VALUE]...", hidden=True)]


class CompareCommand(typer.core.TyperCommand):
    """A command whose help ends with examples."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Usage and options, then examples."""
        super().format_help(ctx, formatter)
        from synoptic.experiment.help import write_examples

        write_examples(formatter, "compare")


@app.command("compare", cls=CompareCommand)
def compare_command(
    words: Words,
    seeds: Annotated[int | None, typer.Option(help="How many seeds, from 0 on; default 5, or the suite's.")] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Whom others are compared with; default the first.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME", help="One more column; repeatable.")] = None,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", show_default=False, help="Where runs lie; default runs.")
    ] = Path("runs"),
    jobs: Jobs = 1,
    fresh: Fresh = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML report as well.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the comparison's folder.")] = False,
    debug: Debug = False,
) -> None:
    """Compare methods over seeds.

    METHOD is a method's name, a recipe file, or a method with settings of its own (fedprox:method.mu=0.1); a single
    YAML file with a `methods` key is a whole suite. KEY=VALUE settings hold for all. Finished runs are reused, stopped
    ones go on.
    """
    if jobs < 1:
        raise click.UsageError("--jobs must be at least 1")
    from synoptic.experiment.comparison.suite import suite_of_words

    suite = suite_of_words(words, seeds, baseline, metric or ())
    from synoptic.experiment.comparison.compare import compare
    from synoptic.experiment.display import output as screen
    from synoptic.experiment.display.comparison import show_comparison
    from synoptic.experiment.display.matrix import LineMatrix, LiveMatrix, MatrixWatcher

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = screen()
    live = console.is_terminal and not console.is_dumb_terminal
    watcher = MatrixWatcher() if quiet else LiveMatrix(console) if live else LineMatrix(console)
    try:
        with watcher:
            result, folder = compare(suite, output, [watcher], jobs, fresh)
    except KeyboardInterrupt:
        typer.echo(f"stopped with {watcher.ended} of {len(watcher.names)} runs finished; the same command goes on",
                   err=True)  # fmt: skip
        raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        show_comparison(console, result.tables())
    for problem in result.problems:
        typer.echo(f"no result for {problem.cell}: {problem.sentence}", err=True)
    if report is not None:
        from synoptic.experiment.report import write_report

        write_report(result.groups, report, title=suite.title, baseline=suite.baseline, metrics=suite.metrics,
                     unfinished=[f"{problem.cell}: {problem.sentence}" for problem in result.problems])  # fmt: skip
        typer.echo(f"report: {report}")
    typer.echo(f"{folder}" if quiet else f"tables: {folder}")
    if result.problems:
        raise typer.Exit(1)
