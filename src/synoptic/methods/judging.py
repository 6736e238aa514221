"""Clients that judge: they learn reward models from their own pairs of answers, and score what a server shows them.

Reward models, what scores mean and what was preferred stay where they are. Legend: K clients, G texts of a question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.data.parcel import Parcel
from synoptic.federation.message import add_work
from synoptic.learning.fusion import coded
from synoptic.learning.judges import JudgeSpec
from synoptic.learning.objectives.preference import Calibration, calibration, check_finite, normalised
from synoptic.learning.rewarding import PreferenceLoss
from synoptic.methods.base import Cohort, Method, Replies, task
from synoptic.methods.held_out import Pairs
from synoptic.methods.mor_settings import Alignment

Ints = NDArray[np.int64]
CALIBRATION, POLICY = "calibration", "policy"
FEWEST = 10
"""Held-out pairs from which on they say how scores lie; of fewer all pairs do."""
SHOWN = ("pictures", "ends", "shows", "questions")
"""What a client keeps of the server's questions, see `synoptic.data.parcel.Parcel`."""


class Judging(Method):
    """The clients of `synoptic.methods.aligning.Aligning`."""

    class Settings(Alignment):
        """Reward models, policy, fusion."""

    @property
    def personal(self) -> tuple[str, ...]:  # type: ignore[override]
        """What may never be in a reply: a reward model, unless it is averaged."""
        return () if self.settings.rewards == "average" else ("reward/*", "*/lora/*", "*/head/*", "*/prompt/*")

    def kinds(self, cohort: Cohort) -> Iterator[tuple[JudgeSpec, Cohort, list[int]]]:
        """Clients with the same kind of reward model, and their places in the cohort."""
        specs: tuple[JudgeSpec, ...] = self.settings.kinds
        for kind, spec in enumerate(specs):
            places = [place for place, client in enumerate(cohort.clients) if client % len(specs) == kind]
            if places:
                yield spec, cohort.part(places), places

    @task
    def prepare(self, cohort: Cohort, policy: TensorDict) -> Replies:
        """Keep the policy as it is before it is aligned, to draw worse answers from (`JudgeSpec.negatives`)."""
        cohort.personal[POLICY] = expand(policy, len(cohort))
        return cohort.reply(prepared=torch.ones(len(cohort), dtype=torch.uint8))

    @task
    def learn(self, cohort: Cohort, judge: TensorDict | None = None, turn: int | None = None) -> Replies:
        """Stage A at a client: Bradley-Terry on its own pairs. A scoring function has nothing to learn.

        ``turn`` is the round that a client catches up with, where that is not the present one.
        """
        examples, loss = cohort.examples, torch.zeros(len(cohort))
        told: dict[str, Any] = {}
        for spec, part, places in self.kinds(cohort):
            if spec.script is not None:
                continue
            own = Pairs(part, self.settings.held_out, spec.ties)
            own.round = own.round if turn is None else turn
            fitted = own.fit(self.judge_of(part, spec, judge), PreferenceLoss(_scorer(cohort, spec)))
            add_work(cohort.work, own.work)
            examples[places], loss[places] = own.examples, fitted.loss
            if judge is None:
                part.personal["judge"] = fitted.stack
            else:
                told["judge"] = fitted.stack
        return cohort.reply(examples=examples, loss=loss, **told)

    @task
    def calibrate(self, cohort: Cohort, judge: TensorDict | None = None) -> Replies:
        """How its scores lie stays with the client; how many held-out pairs are in the right order is told."""
        found: dict[int, Calibration] = {}
        for spec, part, places in self.kinds(cohort):
            stack = None if spec.script is not None else self.judge_of(part, spec, judge)
            own = Pairs(part, self.settings.held_out, spec.ties)
            for place, (held, rest) in enumerate(zip(own.held, own.positions, strict=True)):
                one = None if stack is None else stack[place : place + 1]
                told = calibration(*pair_scores(cohort, spec, one, held))
                if len(held) < FEWEST:
                    # How far scores are apart cannot be told from so few, and too small a deviation clips all scores.
                    wide = calibration(*pair_scores(cohort, spec, one, np.concatenate([held, rest])))
                    told = replace(told, mean=wide.mean, deviation=wide.deviation)
                found[places[place]] = told
        each = [found[place] for place in range(len(cohort))]
        cohort.personal[CALIBRATION] = torch.stack([torch.stack([one.mean, one.deviation]) for one in each])
        sent = {"accuracy": [one.accuracy for one in each], "pairs": [one.pairs for one in each]}
        return cohort.reply(**{name: torch.stack(values) for name, values in sent.items()})

    @task
    def meet(self, cohort: Cohort, **shown: Tensor) -> Replies:
        """Keep the server's questions and pictures, so that later only their numbers are sent."""
        for name in SHOWN:
            cohort.personal[name] = shown[name][None].expand(len(cohort), *shown[name].shape)
        for place in range(len(cohort)):
            cohort.bench.judges.shown(_parcel(cohort, place))
        return cohort.reply(met=torch.ones(len(cohort), dtype=torch.uint8))

    @task
    def score(self, cohort: Cohort, rows: Sequence[Tensor], texts: Sequence[str]) -> Replies:
        """Normalised scores of the answers to some of the questions; nothing else leaves."""
        found = {whole: normalised(raw, _calibration(part, place)).flatten()
                 for whole, part, place, raw in self.raw_scores(cohort, rows, texts)}  # fmt: skip
        bits = self.settings.bits
        sent = [found[place] if bits is None else coded(found[place], bits) for place in range(len(cohort))]
        return cohort.reply(scores=sent)

    def raw_scores(
        self, cohort: Cohort, rows: Sequence[Tensor], texts: Sequence[str]
    ) -> Iterator[tuple[int, Cohort, int, Tensor]]:
        """Each client's raw scores ``[N, G]``, behind its place, its part of the cohort and its place in that."""
        for spec, part, places in self.kinds(cohort):
            stack = None if spec.script is not None else self.judge_of(part, spec, None)
            # Clients that are asked the same are one pass.
            asked: dict[tuple[str, str], list[int]] = {}
            for place, whole in enumerate(places):
                key = digest(rows[whole].numpy(), texts[whole]), _parcel(part, place).fingerprint
                asked.setdefault(key, []).append(place)
            for alike in asked.values():
                first = places[alike[0]]
                table = cohort.bench.judges.shown(_parcel(part, alike[0]))
                said, positions = read_texts(texts[first], len(rows[first])), rows[first].long().numpy()
                worn = {} if stack is None else leaves(stack[torch.tensor(alike)])
                raw_KNG = cohort.bench.judges.scores(spec, worn, table, positions, said)
                for one, place in enumerate(alike):
                    raw = raw_KNG[one if stack is not None else 0]
                    check_finite(raw, f"the reward model of client {part.clients[place]}")
                    yield places[place], part, place, raw

    def judge_of(self, part: Cohort, spec: JudgeSpec, judge: TensorDict | None) -> TensorDict:
        """Clients' own reward models ``[K]``, or the one that the server sends."""
        if judge is not None:
            return expand(judge, len(part))
        return part.personal.adapter("judge", part.bench.judges.new_adapter(spec))


def read_texts(content: str, rows: int) -> list[list[str]]:
    """Groups of texts as the server sends them.

    Raises:
        SynopticError: what came is not one list of texts for each row.
    """
    try:
        groups = json.loads(content)
        fits = len(groups) == rows and all(isinstance(text, str) for group in groups for text in group)
    except (ValueError, TypeError) as error:
        raise SynopticError("the answers to score are no JSON", "send them again") from error
    if not fits:
        raise SynopticError(
            f"{rows} questions came with other answers than one list of texts for each", "send them again"
        )
    return [list(group) for group in groups]


def _scorer(cohort: Cohort, spec: JudgeSpec) -> Any:
    policy = cohort.personal.entries[0].get(POLICY)
    assert policy is None or isinstance(policy, TensorDict)
    return cohort.bench.judges.scorer(spec, cohort.bench.data.train, policy)


def pair_scores(cohort: Cohort, spec: JudgeSpec, one: TensorDict | None, rows: Ints) -> tuple[Tensor, Tensor]:
    """One client's scores of its preferred and its rejected answers ``[n]``."""
    if one is not None:
        preferred, rejected = _scorer(cohort, spec).pairs(leaves(one), rows)
        return preferred[0], rejected[0]
    table = cohort.bench.data.train
    words = table.words.take(rows) if table.words is not None else None
    assert words is not None and words.rejected is not None
    both = list(zip(words.answers, words.rejected, strict=True))
    scores_n2 = cohort.bench.judges.scores(spec, {}, table, rows, both)[0]
    return scores_n2[:, 0], scores_n2[:, 1]


def _calibration(part: Cohort, place: int) -> Calibration:
    kept = part.personal.entries[place].get(CALIBRATION)
    if not isinstance(kept, Tensor):
        raise SynopticError(f"client {part.clients[place]} has not calibrated its reward model", "ask it to first")
    unknown = torch.zeros(())
    return Calibration(kept[0], kept[1], unknown, unknown)


def _parcel(part: Cohort, place: int) -> Parcel:
    entry = part.personal.entries[place]
    kept: dict[str, Any] = {name: one.numpy() for name in SHOWN if isinstance(one := entry.get(name), Tensor)}
    if len(kept) < len(SHOWN):
        raise SynopticError(f"client {part.clients[place]} has not been shown the server's questions", "show it first")
    return Parcel(**kept)
