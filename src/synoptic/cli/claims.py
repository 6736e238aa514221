"""`synoptic claims`: statements that a command can check."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from synoptic.cli.app import INTERRUPTED, MENDABLE, Debug, Fresh, Jobs, app

NONE = "none"


@app.command("claims")
def claims_command(
    name: Annotated[str, typer.Argument(metavar="NAME", hidden=True)],
    only: Annotated[list[str] | None, typer.Option(metavar="ID", help="Check this claim; repeatable.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds, from 0 on; default the file's.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only see that every claim can be evaluated.")] = False,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", show_default=False, help="Where runs lie; default runs/claims.")
    ] = Path("runs/claims"),
    jobs: Jobs = 1,
    fresh: Fresh = False,
    results: Annotated[str | None, typer.Option(metavar="FILE", help="Verdicts as JSON; none writes nothing.")] = None,
    page: Annotated[str | None, typer.Option(metavar="FILE", help="The page; none writes nothing.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the verdicts.")] = False,
    debug: Debug = False,
) -> None:
    """Check the claims of a file.

    NAME is a file in ./claims without its ending, or the path of a YAML file. Runs that are missing are made, finished
    ones are reused, stopped ones go on. Verdicts go to benchmarks/results/claims/NAME.json and docs/claims/NAME.md
    where these folders exist, else to ./NAME.json; with --only or --seeds they go only to files that you name.
    """
    if quick and (results or page or seeds):
        raise click.UsageError(
            "--quick has seeds of its own and writes nothing; leave out --seeds, --results and --page"
        )
    if jobs < 1 or (seeds is not None and seeds < 1):
        raise click.UsageError("--jobs and --seeds must be at least 1")
    from synoptic.experiment.claims.reading import find_claims, read_claims

    file = read_claims(find_claims(name))
    file = file.only(only) if only else file
    file = file.with_seeds(seeds) if seeds else file
    file = file.quicker() if quick else file
    from synoptic.experiment.claims.show import show_evaluated, show_verdicts
    from synoptic.experiment.display import output as screen

    console = screen()
    checked = _checked(file, output, console, quiet, jobs, fresh)
    if quick:
        show_evaluated(console, checked.outcomes)
    else:
        show_verdicts(console, checked)
    for sentence in checked.failures:
        typer.echo(sentence, err=True)
    if checked.failures or (quick and not all(outcome.evaluated for outcome in checked.outcomes)):
        typer.echo("error: not all runs gave a result, so nothing was written" if not quick else
                   "error: not all claims can be evaluated", err=True)  # fmt: skip
        raise typer.Exit(MENDABLE)
    if not quick:
        _write(checked, results, page, whole=not (only or seeds))


def _checked(file: Any, output: Path, console: Any, quiet: bool, jobs: int, fresh: bool) -> Any:
    """Verdicts, or how to go on after an interruption."""
    from synoptic.experiment.claims.check import check_claims
    from synoptic.experiment.claims.show import watcher

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    watchers: list[Any] = []

    def watching() -> Any:
        watchers.append(watcher(console, quiet))
        return watchers[-1]

    try:
        return check_claims(file, output, watching, jobs, fresh)
    except KeyboardInterrupt:
        done = sum(one.ended for one in watchers)
        typer.echo(f"stopped with {done} runs finished; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _write(checked: Any, results: str | None, page: str | None, whole: bool) -> None:
    from synoptic.experiment.claims.page import write_page
    from synoptic.experiment.claims.results import FOLDER, PAGES, write_results

    name = checked.file.name
    if results is None and whole:
        results = str(FOLDER / f"{name}.json") if FOLDER.is_dir() else f"{name}.json"
    if page is None and whole and PAGES.is_dir():
        page = str(PAGES / f"{name}.md")
    for what, path, write in (("results", results, write_results), ("page", page, write_page)):
        if path is not None and path != NONE:
            write(checked, Path(path))
            typer.echo(f"{what}: {path}")
