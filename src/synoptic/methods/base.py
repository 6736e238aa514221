"""The contract of a method: what the server does in a round, and what clients do when asked.

A method is one file. It names its settings, says what it trains by default, and writes `begin` and `round` as the
paper's algorithm box does. Everything that it remembers lies in ``server.state`` or ``cohort.personal``; nothing is
kept on the object, so a run stops after any round and resumes bit for bit.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar

from tensordict import TensorDict

from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, trainable_names
from synoptic.core import Section, SynopticError
from synoptic.core.errors import nearest
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Replies
from synoptic.federation.server import Server
from synoptic.learning.rewarding import RewardSpec
from synoptic.methods.evaluation import evaluate_cohort

__all__ = ["Cohort", "Method", "Replies", "Section", "Server", "load_method", "register", "registry", "task"]

GROUP = "synoptic.methods"


class Method:
    """Base of all methods.

    Class attributes:
        summary: one line for ``synoptic methods``.
        adapter: what is trained unless the recipe says otherwise.
        answerer_adapter: the same where the data asks questions, so that the base is a generative model.
        dual_encoder_only: whether it compares pictures with class names, which a generative model cannot.
        answerer_only: whether it learns from answers that a model gives, which a dual encoder does not.
        tasks_adapter: what is trained where clients have several tasks.
        several_tasks: whether it asks clients kind by kind (`synoptic.federation.kinds`), so that these may have
            different tasks.
        tasks_only: whether it is for such clients alone.
        defaults: recipe values, by dotted key, that suit this method better than the general ones.
        personal: name patterns of tensors that belong to the client and may never be in a reply.
        pools_data: whether all clients' data are put in one place first (only a ceiling does that).
        reward: what reward models are made of, if the method trains these; its data then are pairs of answers.
        has_shared, has_personal: which models there are to evaluate. These, ``personal`` and ``pools_data`` may depend
            on the settings.
    """

    class Settings(Section):
        """The method's own settings, ``method.<name>=...`` in a recipe."""

    summary: ClassVar[str] = ""
    adapter: ClassVar[AdapterSpec] = AdapterSpec.model_validate({"vision": "lora"})
    answerer_adapter: ClassVar[AdapterSpec] = AdapterSpec.model_validate({"text": "lora"})
    tasks_adapter: ClassVar[AdapterSpec] = AdapterSpec.model_validate(
        {"vision": {"lora": {"layers": 1}}, "text": {"lora": {"layers": 1}}, "backbone": {}}
    )
    dual_encoder_only: ClassVar[bool] = False
    answerer_only: ClassVar[bool] = False
    several_tasks: ClassVar[bool] = False
    tasks_only: ClassVar[bool] = False
    defaults: ClassVar[dict[str, Any]] = {}
    personal: tuple[str, ...] = ()
    pools_data: bool = False
    has_shared: bool = True
    has_personal: bool = False
    reward: RewardSpec | None = None

    def __init__(self, settings: Section | None = None) -> None:
        self.settings: Any = settings if settings is not None else self.Settings()

    def begin(self, server: Server) -> None:
        """Set ``server.state`` before the first round."""

    def round(self, server: Server, t: int) -> None:
        """One round; ``t`` counts from 0."""
        raise NotImplementedError(f"{type(self).__name__} must say what the server does in a round")

    def end(self, server: Server) -> None:
        """What follows the last round, such as asking everybody once more; ``server.round`` is still the last one.

        It is tried again where too few clients answer, and a run does not finish without it.
        """

    def shared_model(self, server: Server) -> TensorDict | None:
        """The adapter to evaluate and export as everybody's; None is the untouched base."""
        adapter: TensorDict | None = server.state.get("adapter")
        return adapter

    def broadcast(self, server: Server) -> TensorDict | None:
        """What a client needs of the server for its models: the shared one, if there is one; or shared parts of it."""
        return self.shared_model(server) if self.has_shared else None

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """Each client's own model as a stack ``[K]``, with the help of `broadcast`; None where a method has none."""
        return None

    def newcomer(self, cohort: Cohort, shared: TensorDict | None) -> tuple[TensorDict, list[str]] | None:
        """How clients begin that come when the run is over.

        What is personal they train, and the rest stays as the federation gives it; where nothing is, they train a copy
        of everybody's model.

        Args:
            cohort: the newcomers, with their data and nothing kept.
            shared: `broadcast`.

        Returns:
            Their first adapters ``[K]`` and name patterns of what they may train; None where the federation has
            nothing to give.
        """
        if shared is None or not (self.has_shared or self.personal):
            return None
        start = self.personal_model(cohort, shared) if self.has_personal else None
        start = expand(shared, len(cohort)) if start is None else start
        own = [name for name in trainable_names(start) if any(fnmatchcase(name, pattern) for pattern in self.personal)]
        return start, own or ["*"]

    @task
    def evaluate(self, cohort: Cohort, splits: str, adapter: TensorDict | None = None) -> Replies:
        """Count right answers of the shared and the personal models; only counts leave the client."""
        personal = self.personal_model(cohort, adapter) if self.has_personal else None
        return evaluate_cohort(cohort, splits.split(","), adapter, personal, shared=self.has_shared)


@cache
def registry() -> dict[str, EntryPoint]:
    """All installed methods by name, those of other packages included."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def register(name: str, method: type[Method]) -> None:
    """Make a method known in this process, for scripts and notebooks; an entry point makes it known everywhere.

    Raises:
        SynopticError: another method has that name.
    """
    point = EntryPoint(name, f"{method.__module__}:{method.__qualname__}", GROUP)
    if registry().get(name, point) != point:
        raise SynopticError(f"there is a method called '{name}' already ({registry()[name].value})",
                            "take another name")  # fmt: skip
    registry()[name] = point


def load_method(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        SynopticError: no method of that name, or one that cannot be imported.
    """
    known = registry()
    if name not in known:
        raise SynopticError(f"there is no method called '{name}'", nearest(name, known))
    try:
        loaded: type[Method] = known[name].load()
    except (ImportError, AttributeError) as error:
        raise SynopticError(f"the method '{name}' ({known[name].value}) cannot be imported ({error})",
                            "install its package again") from error  # fmt: skip
    return loaded
