"""Small runs through the recipe, and what two runs must have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import answerers
from synoptic.experiment.events import Event, read_events
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.methods.base import Method, load_method

SMALL = [
    "data.train_limit=60", "data.test_limit=40", "data.clients=3", "train.batch_size=8", "compute.threads=1",
    "federation.stack=2", "rounds=4",
]  # fmt: skip

ALIGNING = ["data.questions.train=16", "data.questions.test=6", "adapter.text.lora.layers=1",
            "adapter.text.lora.rank=2", "data.questions.public=8", "data.questions.public_test=4",
            "method.demonstrate.steps=1",
            "method.reward_rounds=1", "method.steps=1", "method.prompts=3", "method.policy.group=2",
            "method.policy.tokens=4", "method.auxiliary=8", "method.nearest=4"]  # fmt: skip

TASKS = ["data.tasks.archetypes=[[shapes], [shapes, colours], [colours]]", "data.tasks.groups=1",
         "data.tasks.train=10", "data.tasks.test=4"]  # fmt: skip
"""Three clients with different tasks, in place of what `SMALL` says of data."""

LISTENING = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from synoptic.cli import main; sys.exit(main())"
)
"""The command line for ``python -c``, which Ctrl-C reaches even where a shell started the tests in the background."""


def small(output: Path, method: str = "fedavg", *changes: str) -> Recipe:
    """A run of about half a second; of a method that makes a model answer, of a few seconds."""
    kind = load_method(method)
    own = []
    if kind.answerer_only:
        own = [f"model={answerers.folder('llava')}", *(setting for setting in ALIGNING if _applies(setting, kind))]
    common = [*SMALL[3:], *TASKS] if kind.tasks_only or "data=tasks" in changes else SMALL
    return load_recipe(method, [*common, *own, f"output={output}", *changes])


def _applies(setting: str, kind: type[Method]) -> bool:
    section, name = setting.partition("=")[0].split(".")[:2]
    return section != "method" or name in kind.Settings.model_fields


def timeless(folder: Path) -> list[Event]:
    """A run's events without clock times, places, and the line that every (re)start writes."""
    told = ("run_started", "checkpoint_skipped")
    return [_without(event) for event in read_events(folder / "events.jsonl") if event["type"] not in told]


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without(item)
            for key, item in value.items()
            if key not in ("time", "seconds", "folder", "run", "load")
        }
    return [_without(item) for item in value] if isinstance(value, list) else value


def stop_at(kind: str, round_: int) -> Callable[[Event], None]:
    """An observer that interrupts the run as Ctrl-C would, when an event of this kind tells of this round."""

    def observer(event: Event) -> None:
        if event["type"] == kind and event.get("round") == round_:
            raise KeyboardInterrupt

    return observer
