"""Settings of MoR: who judges how, who is asked about what, and how the policy learns from it."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from synoptic.core import Section
from synoptic.learning.answer_policy import AnswerPolicySpec
from synoptic.learning.judges import JudgeSpec
from synoptic.learning.spec import TrainSpec

Routing = Literal["gates", "discriminant", "index", "uniform", "random", "single", "domain", "fixed"]
Fusion = Literal["scores", "advantages", "candidates", "median", "least", "vote"]
BEYOND: Final = ("weights", "objective", "own_rank", "critic", "audit", "late")


class Demonstrations(TrainSpec):
    """How the policy first imitates the server's own answers; a schedule is over epochs."""

    epochs: int = Field(8, ge=1, description="passes over the server's answers")
    lr: float = Field(6e-3, gt=0, description="learning rate")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="of the rate, over epochs")


class AlignedPolicy(AnswerPolicySpec):
    """How answers are drawn and learned from, for a small model."""

    temperature: float = Field(0.8, gt=0, description="of the draw; old, new and reference policy are at the same")
    tokens: int = Field(16, ge=1, description="longest answer, the end token included")
    beta: float = Field(0.2, ge=0, description="weight of the divergence from the reference")


class Alignment(Section):
    """What every method has that aligns a policy on the server with scores from clients."""

    judges: tuple[JudgeSpec, ...] = Field(
        (), description="kinds of reward models; client k has number k modulo how many; none: one, with defaults"
    )
    rewards: Literal["own", "average", "pooled"] = Field(
        "own", description="each client its own; one averaged (FedAvg), held by the server; one for all data: a ceiling"
    )
    reward_rounds: int = Field(3, ge=0, description="rounds in which reward models learn, before the policy does")
    held_out: float = Field(
        0.2, gt=0, lt=1, description="share of a client's pairs to calibrate on, where it has no validation pairs"
    )
    demonstrate: Demonstrations | None = Field(
        None, description="how the policy first imitates the server's own answers; none: not"
    )
    policy: AlignedPolicy = Field(AlignedPolicy(), description="how answers are drawn and learned from")
    prompts: int = Field(16, ge=1, description="questions in a step of the policy")
    steps: int = Field(5, ge=1, description="steps of the policy in a round")
    fuse: Fusion = Field("scores", description="how scores of several reward models become one")
    doubt: float = Field(0.0, ge=0, description="deviations between reward models that an answer's reward loses")
    bits: int | None = Field(None, ge=1, le=8, description="bits of a score on its way; none: 32")

    @property
    def kinds(self) -> tuple[JudgeSpec, ...]:
        """Kinds of reward models, at least one."""
        return self.judges or (JudgeSpec(),)


class CriticSpec(Section):
    """A surrogate of every client's scores, so that only answers are sent of which it is unsure."""

    primary: ClassVar[str | None] = "threshold"

    threshold: float = Field(
        0.3, ge=0, description="predictive deviation, in deviations of scores, above which a client is asked; 0: always"
    )
    prior: float = Field(1.0, gt=0, description="precision of its weights before it has seen a score")
    features: int = Field(256, ge=1, description="most features that it reads; of wider bases random mixtures")


class AuditSpec(Section):
    """Pairs of answers of which everybody must prefer the first, to find out who can be trusted."""

    primary: ClassVar[str | None] = "pairs"

    pairs: int = Field(16, ge=1, description="of the server's questions, in each round of the policy")
    wrong: Literal["stammered", "other"] = Field(
        "stammered", description="the worse answer: the right one with every word said twice, or another question's"
    )


class MoRSettings(Alignment):
    """The router, and what goes beyond the paper."""

    router: Routing = Field(
        "gates", description="who is asked: gates, discriminant, index; uniform, random, single, domain, fixed"
    )
    client: int = Field(0, ge=0, description="the one who is asked with router=single")
    top: int | None = Field(None, ge=1, description="how many clients are asked about a question; none: all")
    temperature: float = Field(1.0, gt=0, description="of the router's softmax")
    inverted: bool = Field(False, description="trust those most who know least: a control")
    nobody: bool = Field(False, description="smaller steps where no client knows such questions")
    diagonal: bool = Field(False, description="clients tell variances of their inputs instead of covariances")
    index_rounds: int = Field(50, ge=1, description="of router=index: rounds of averaging")
    index_steps: int = Field(1, ge=1, description="of router=index: local steps in each")
    index_lr: float = Field(0.5, gt=0, description="of router=index: rate of local steps")
    weights: tuple[float, ...] | None = Field(
        None, min_length=1, description="with router=fixed: how much each client counts; none: all the same"
    )
    objective: Literal["site"] | None = Field(
        None, description="site: one policy that answers each client as it likes; none: all in the same way"
    )
    own_rank: int | None = Field(
        None, ge=1, description="with an objective: rank of each client's own part of the policy; none: as of all's"
    )
    critic: CriticSpec | None = Field(
        None, description="a surrogate of scores, so that clients are asked where it is unsure; none: they always are"
    )
    audit: AuditSpec | None = Field(
        None, description="questions with known answers, so that liars lose their weight; none: all are believed"
    )
    late: int | None = Field(
        None, ge=1, description="the round in which the last client comes, to see what that costs; none: the first"
    )

    @model_validator(mode="after")
    def _needed_together(self) -> MoRSettings:
        if self.weights is not None:
            if self.router != "fixed":
                raise ValueError("weights are for router=fixed: set that, or leave them out")
            if not all(0 <= weight < float("inf") for weight in self.weights) or not sum(self.weights) > 0:
                raise ValueError("weights are numbers from 0 on, at least one of them above 0")
        if self.own_rank is not None and self.objective is None:
            raise ValueError("own_rank is for objective=site: set that, or leave it out")
        return self

    @model_validator(mode="after")
    def _scores_of_clients(self) -> MoRSettings:
        off = [name for name in ("objective", "critic", "audit", "late") if getattr(self, name) is not None]
        if off and self.rewards != "own":
            raise ValueError(f"{off[0]} is about clients' own reward models: set rewards=own, or leave it out")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_used(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes that use none of these read, and hash, as they did before there were any.
        return {key: value for key, value in plain(self).items() if value is not None or key not in BEYOND}
