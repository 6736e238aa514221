"""Settings of MoR: who judges how, who is asked about what, and how the policy learns from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from synoptic.core import Section
from synoptic.learning.answer_policy import AnswerPolicySpec
from synoptic.learning.judges import JudgeSpec
from synoptic.learning.spec import TrainSpec

Routing = Literal["gates", "discriminant", "index", "uniform", "random", "single", "domain"]
Fusion = Literal["scores", "advantages", "candidates", "median", "least", "vote"]


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


class MoRSettings(Alignment):
    """The router."""

    router: Routing = Field(
        "gates", description="who is asked: gates, discriminant, index; uniform, random, single, domain"
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
