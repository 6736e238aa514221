"""What data a run uses and how it is shared out: two sections of the recipe."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError, nearest
from synoptic.data.question_spec import QuestionSpec
from synoptic.data.task_spec import TaskWorldSpec

PartitionKind = Literal["iid", "classes", "dirichlet", "domain", "domain_dirichlet", "column"]
SOURCES: Final = ("digits", "world", "questions", "tasks", "parquet", "folder", "hub")
EMBEDDED: Final = ("digits", "world", "questions", "tasks")
CLIENTS: Final = 5
_NOVEL: Final = {"world": 0.5, "digits": 0.3}
_WORLD_ONLY: Final = ("draw", "per_class", "test_per_class", "styles", "style_strength")
_COLUMNS_ONLY: Final = ("image", "label", "domain", "test_path", "question", "instruction")
_WITH_QUESTION: Final = ("answer", "rejected", "group", "answer_lengths")
_ASKING: Final = ("question", "instruction", *_WITH_QUESTION, "questions")
_UNLESS_SET: Final = ("public", "wrong")
_OF_CLASSES: Final = ("template", "class_names")
_SELECTING: Final = ("classes", "novel", "domains", "shots", "clients", "validation", "train_limit", "test_limit",
                     *_OF_CLASSES)  # fmt: skip
_ASIDE: Final = {"questions": 0.1}
_ASIDE_OF_FILES: Final = 0.111  # with a tenth set aside for testing, a tenth of the whole


class PartitionSpec(Section):
    """How training examples are shared out among clients. Every example goes to exactly one client."""

    primary: ClassVar[str | None] = "kind"
    replaces: ClassVar[bool] = True

    kind: PartitionKind = Field(
        "iid",
        description="iid: equal random parts; classes: each client holds few classes; dirichlet: label skew; domain: "
        "one domain per client; domain_dirichlet: label skew inside each domain; column: one client per value",
    )
    alpha: float = Field(0.5, gt=0, description="dirichlet kinds: small is skewed (0.1), large is even (100)")
    classes_per_client: int | None = Field(
        None, ge=1, description="classes: how many each client holds; none shares the classes out without overlap"
    )
    column: str | None = Field(None, description="column: the source's column whose values are the clients")
    min_examples: int = Field(1, ge=1, description="fewest training examples a client may hold")

    @model_validator(mode="after")
    def _only_own_options(self) -> PartitionSpec:
        owners = {
            "alpha": ("dirichlet", "domain_dirichlet"),
            "classes_per_client": ("classes",),
            "column": ("column",),
        }
        for option, kinds in owners.items():
            is_set = getattr(self, option) != type(self).model_fields[option].default
            if is_set and self.kind not in kinds:
                raise SynopticError(
                    f"partition.{option} has no meaning for partition.kind={self.kind}",
                    f"leave it out or use kind={' or '.join(kinds)}",
                )
        if self.kind == "column" and self.column is None:
            raise SynopticError("partition.kind=column does not say which column", "set partition.column")
        return self


class DataSpec(Section):
    """Where examples come from, which of them are used, and who holds them."""

    primary: ClassVar[str | None] = "source"

    source: str = Field(
        "digits",
        description="digits (real, offline), world (generated), questions and tasks (about the world), parquet, folder "
        "or hub; "
        "parquet:PATH, folder:PATH and hub:ID say source and path in one word",
    )
    path: str | None = Field(
        None,
        description="parquet: file, glob, folder, or a path with {split}; folder: a folder; hub: a data set id; tasks: "
        "the folder that paths of your own tasks start from",
    )
    test_path: str | None = Field(
        None, description="parquet: the test file or glob, if `path` names only the train one"
    )
    image: str = Field("image", description="parquet, hub: the column of images")
    label: str | None = Field(
        "label",
        description="parquet, hub: the column of class labels (integers or words); with questions, of what a partition "
        "skews (none: the answers, if they are few)",
    )
    domain: str | None = Field(None, description="parquet, hub: the column of domains, if any")
    class_names: tuple[str, ...] | None = Field(None, description="words for the classes, in the source's order")
    template: str | None = Field(
        None, description='prompt with {} for the class; none: the source\'s own ("a photo of a {}.")'
    )
    classes: int | tuple[str, ...] | None = Field(
        None, description="only the first n or these classes; world: how many are drawn (20), or their names"
    )
    novel: float | tuple[str, ...] = Field(
        0.0, description="share of the classes (the last ones), or their names, never trained; world 0.5, digits 0.3"
    )
    domains: tuple[str, ...] | None = Field(None, description="only these domains")
    shots: int | None = Field(None, ge=1, description="examples per class and client; none: all")
    clients: int | None = Field(
        None, ge=1, description="number of clients; none: 5, or one per domain or column value for those partitions"
    )
    validation: float = Field(
        0.0, ge=0, lt=1, description="share of each client's training examples kept for validation"
    )
    partition: PartitionSpec = Field(
        default_factory=PartitionSpec,
        description="who holds what; default: world classes, sources with a domain column domain, others dirichlet",
    )
    train_limit: int | None = Field(
        None, ge=1, description="use at most so many training examples, stratified by class"
    )
    test_limit: int | None = Field(None, ge=1, description="use at most so many test examples, stratified by class")
    question: str | None = Field(
        None, description="parquet, hub: the column of questions (texts, or a list of them per image)"
    )
    instruction: str | None = Field(
        None,
        description="parquet, hub: in place of questions, what is asked about every picture (captions)",
    )
    answer: str | None = Field(
        None, description='with questions: the column of answers; "answer" unless told otherwise'
    )
    rejected: str | None = Field(None, description="with questions: the column of worse answers (preference records)")
    group: str | None = Field(None, description="with questions: the column whose equal values stay with one client")
    answer_lengths: int | None = Field(
        None, ge=2, description="with questions: make so many domains of the answers by their length, shortest first"
    )
    wrong: bool = Field(
        False, description="with questions: a worse answer to every row, drawn from those to the same question"
    )
    public: float = Field(
        0.0, ge=0, lt=1, description="with questions: share of the training pictures that only the server has"
    )
    questions: QuestionSpec | None = Field(None, description="questions: what is asked, and how sites differ")
    tasks: TaskWorldSpec | None = Field(None, description="tasks: who has which, and how sites differ")
    draw: int = Field(0, ge=0, description="world: which classes are drawn")
    per_class: int = Field(100, ge=1, description="world: training images per base class")
    test_per_class: int = Field(40, ge=1, description="world: test images per class")
    styles: tuple[str, ...] = Field(
        ("pastel", "blurred"), min_length=1, description="world: the clients' styles (domains)"
    )
    style_strength: float = Field(0.9, ge=0, le=1, description="world: how far a style is from the plain picture")

    @model_validator(mode="before")
    @classmethod
    def _fill_by_source(cls, value: Any) -> Any:
        """Split "parquet:PATH" and fill what depends on the source, so that a saved recipe shows it."""
        if isinstance(value, str):
            value = {"source": value}
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        source = filled.get("source", "digits")
        if isinstance(source, str) and ":" in source:
            source, path = source.split(":", 1)
            if filled.get("path") not in (None, path):
                raise SynopticError(f"data.source and data.path name two paths ({path}, {filled['path']})", "give one")
            filled |= {"source": source, "path": path}
        if filled.get("novel") is None:
            filled["novel"] = _NOVEL.get(source, 0.0)
        _fill_asking(filled, source)
        has_domains = filled.get("domain") or filled.get("answer_lengths")
        kind = {"world": "classes", "questions": "domain"}.get(source, "domain" if has_domains else "dirichlet")
        partition = filled.get("partition")
        if source == "tasks":
            filled["tasks"] = filled.get("tasks") or {}
            kind = "column"
            partition = {"column": "site", **(partition or {})} if not isinstance(partition, str) else partition
        if partition is None or (isinstance(partition, dict) and "kind" not in partition):
            filled["partition"] = {"kind": kind, **(partition or {})}
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> DataSpec:
        if self.source not in SOURCES:
            raise SynopticError(f"data.source={self.source!r} is not known", nearest(self.source, SOURCES))
        if self.source in EMBEDDED and self.path is not None and (self.tasks is None or not self.tasks.on_files):
            raise SynopticError(f"data.path has no meaning for data.source={self.source}", "leave it out")
        if self.source not in EMBEDDED and not self.path:
            raise SynopticError(f"data.source={self.source} needs a path", f"write source={self.source}:PATH")
        self._refuse("world", _WORLD_ONLY, self.source == "world")
        self._refuse("parquet and hub", _COLUMNS_ONLY, self.source in ("parquet", "hub"))
        self._asks_or_not()
        self._several_tasks_or_not()
        if isinstance(self.novel, float) and not 0 <= self.novel < 1:
            raise SynopticError(f"data.novel={self.novel} is not a share of the classes", "use 0 <= novel < 1 or names")
        if isinstance(self.classes, int) and self.classes < 1:
            raise SynopticError(f"data.classes={self.classes} leaves no class", "use at least 1")
        if self.template is not None and "{}" not in self.template:
            raise SynopticError(f"data.template={self.template!r} has no place for the class", "write {} where it goes")
        return self

    @property
    def asks(self) -> bool:
        """Whether rows have a question and an answer; else they have a class."""
        return self.source == "questions" or self.question is not None or self.instruction is not None

    @model_serializer(mode="wrap")
    def _only_what_applies(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes read, and hash, as they did before there were questions, and before there was more to say about them.
        left_out = {key for key in (*_ASKING, "tasks") if getattr(self, key) is None}
        left_out |= {key for key in _UNLESS_SET if not getattr(self, key)}
        return {key: value for key, value in plain(self).items() if key not in left_out}

    def _asks_or_not(self) -> None:
        if self.question is None and self.instruction is None:
            self._refuse_set(_WITH_QUESTION, "needs questions", "set data.question to their column")
        elif self.question is not None and self.instruction is not None:
            raise SynopticError("data.question and data.instruction both say what is asked", "give one")
        elif self.instruction is not None and not self.instruction.strip():
            raise SynopticError("data.instruction has no words", 'write what is asked, such as "describe the picture."')
        if self.source != "questions":
            self._refuse_set(("questions",), f"has no meaning for data.source={self.source}", "use data=questions")
        if self.asks:
            self._refuse_set(_OF_CLASSES, "has no meaning for questions", "leave it out")
        elif self.label is None:
            raise SynopticError("data.label names no column of classes", "name one, or set data.question")
        self._more_of_questions()
        if self.answer_lengths is not None and self.domain is not None:
            raise SynopticError("data.domain and data.answer_lengths both say what the domains are", "give one")

    def _more_of_questions(self) -> None:
        for name in _UNLESS_SET:
            if getattr(self, name) and not self.asks:
                raise SynopticError(f"data.{name} needs questions", "set data.question to their column")
        if self.wrong and (self.rejected is not None or self.questions is not None):
            given = "data.rejected" if self.rejected is not None else "data.questions"
            raise SynopticError(f"data.wrong and {given} both say what the worse answers are", "leave data.wrong out")
        if self.public and self.questions is not None and (self.questions.public or self.questions.public_test):
            raise SynopticError("data.public and data.questions.public both say what the server has", "give one")

    def _several_tasks_or_not(self) -> None:
        if self.source != "tasks":
            self._refuse_set(("tasks",), f"has no meaning for data.source={self.source}", "use data=tasks")
            return
        if (self.partition.kind, self.partition.column) != ("column", "site"):
            raise SynopticError("data.source=tasks is shared out already, one client per site", "leave partition out")
        self._refuse("other sources; see data.tasks", _SELECTING, allowed=False)

    def _refuse_set(self, options: tuple[str, ...], why: str, fix: str) -> None:
        for name in options:
            if getattr(self, name) is not None:
                raise SynopticError(f"data.{name} {why}", fix)

    def _refuse(self, owners: str, options: tuple[str, ...], allowed: bool) -> None:
        changed = [name for name in options if getattr(self, name) != type(self).model_fields[name].default]
        if changed and not allowed:
            raise SynopticError(
                f"data.{changed[0]} has no meaning for data.source={self.source}", f"it is for {owners}"
            )


def _fill_asking(filled: dict[str, Any], source: Any) -> None:
    """What a source with questions has by default."""
    if source == "questions":
        filled["questions"] = filled.get("questions") or {}
    elif source in ("parquet", "hub") and any(filled.get(option) is not None for option in ("question", "instruction")):
        filled.setdefault("label", None)
        if filled.get("answer") is None:
            filled["answer"] = "answer"
    else:
        return
    if filled.get("validation") is None:
        filled["validation"] = _ASIDE.get(source, _ASIDE_OF_FILES)


KINDS: Final = get_args(PartitionKind)
