"""Tables of the engine's figures, from what was measured: `python -m benchmarks.table > docs/benchmarks.md`.

Reads `benchmarks/results/engine.json` (or the file given as an argument) and `grpo.json` beside it, where there is one;
no figure is ever typed by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

from benchmarks.engine import FULL
from synoptic.core.files import read_json

MEANING = {
    "overhead_ratio": "a round of fedavg / the bare loop's round; nothing cached, one thread, stack chosen by the run",
    "overhead_ratio_auto": "the same figure as `overhead_ratio`",
    "overhead_ratio_stack1": "the same, one client after another",
    "overhead_ratio_same_arithmetic": "against a bare loop that also computes the last block for the pooled token only",
    "overhead_ratio_same_arithmetic_auto": "the same figure as `overhead_ratio_same_arithmetic`",
    "overhead_ratio_same_arithmetic_stack1": "the same, one client after another",
    "prefix_cache_speedup": "bare loop / cached round; LoRA in the last two of six blocks, one client after another",
    "prefix_cache_speedup_auto": "the same, stack chosen by the run",
    "prefix_cache_speedup_own": "Synoptic without the cache / with it, one client after another",
    "feature_cache_speedup": "the same figure as `feature_cache_speedup_head`",
    "feature_cache_speedup_head": "a head on cached features, against encoding again; six small blocks",
    "feature_cache_speedup_head_stack1": "the same, one client after another",
    "feature_cache_speedup_prompt": "context vectors on cached features, against encoding again; six small blocks",
    "feature_cache_speedup_prompt_stack1": "the same, one client after another",
    "feature_cache_speedup_head_vitb": "the head, on a model of CLIP ViT-B/32's size",
    "feature_cache_speedup_head_vitb_stack1": "the same, one client after another",
    "feature_cache_speedup_prompt_vitb": "the context vectors, on a model of CLIP ViT-B/32's size",
    "feature_cache_speedup_prompt_vitb_stack1": "the same, one client after another",
    "stack_speedup": "ten clients one after another / as one stack; nothing cached, each at its best thread count",
    "stack_speedup_cached": "the same with the prefix cache",
    "stack_speedup_batch16": "ten clients in batches of 16 (above: 32, the default)",
    "stack_speedup_batch16_cached": "the same with the prefix cache",
    "stack_speedup_batch8": "ten clients in batches of 8",
    "stack_speedup_batch8_cached": "the same with the prefix cache",
    "vitb_speedup": "CLIP ViT-B/32: float32 torch + peft / fit with the cache filled and a bfloat16 base",
    "vitb_speedup_with_fill": "the same over all epochs, the one that fills the cache included",
    "vitb_speedup_cache_only": "the same with a float32 base on both sides, cache filled",
    "vitb_speedup_over_bfloat16_peft": "the same against torch + peft on a bfloat16 base",
    "feddtl_speedup": "FedDTL as a plain loop / cached and stacked, a round of each stage; tiny-clip, 16 shots",
    "feddtl_speedup_stack1": "the same, one client after another",
    "feddtl_speedup_sft": "the round of SFT alone",
    "feddtl_speedup_rl": "the round of RL alone, whose reference the plain loop runs on every batch",
    "feddtl_speedup_full": "both rounds with all data, batches of 32",
    "feddtl_speedup_full_stack1": "the same, one client after another",
    "feddtl_speedup_full_sft": "the round of SFT alone",
    "feddtl_speedup_full_rl": "the round of RL alone",
    "feddtl_speedup_vitb": "both rounds on a model of CLIP ViT-B/32's size",
    "feddtl_speedup_vitb_stack1": "the same, one client after another",
    "feddtl_speedup_vitb_sft": "the round of SFT alone",
    "feddtl_speedup_vitb_rl": "the round of RL alone",
    "rss_growth": "peak memory beyond the index: 100,000 clients / 10 clients - 1",
    "rss_growth_bytes": "peak memory beyond the index: 100,000 clients less 10 clients, bytes",
}  # fmt: skip

HEAD = (
    "Written by `python -m benchmarks.table` from `engine.json` and `grpo.json` in `benchmarks/results`; "
    "[benchmarks/README.md](../benchmarks/README.md) tells how each figure is taken. "
    "A target is met if the median meets it."
)

RELATIONS: dict[str, Callable[[float, float], bool]] = {"<": lt, "<=": le, ">=": ge, ">": gt}

CONTENDERS = {
    "synoptic": "Synoptic, as a run sets itself up",
    "synoptic_plain": "Synoptic, nothing cached, one client after another, one thread",
    "pfl": "pfl-research, one process",
    "pfl_all_cores": "pfl-research, one process for each core",
    "flower": "Flower simulation, one actor for each core",
}

SIDES = {"trl": "TRL's `GRPOTrainer`", "plain": "a plain loop on transformers and peft"}


def main(path: Path) -> None:
    """Print the page."""
    grpo = path.with_name("grpo.json")
    print("\n".join(page(read_json(path), read_json(grpo) if grpo.exists() else None)))


def page(content: Mapping[str, Any], grpo: Mapping[str, Any] | None = None) -> list[str]:
    """Lines of Markdown."""
    lines = ["# Engine benchmarks", "", HEAD, ""]
    lines += _figures(content)
    if "vitb" in content["seconds"]:
        lines += _curves(content["notes"]["vitb_speedup"])
    if "peers" in content:
        lines += _peers(content["peers"])
    if grpo:
        lines += _grpo(grpo)
    lines += ["", "## Where and when", "", *_environments(content["environments"].values())]
    lines += ["", "## Not measured", "", *(f"* {line}" for line in content["not_measured"])]
    return lines


def _figures(content: Mapping[str, Any]) -> list[str]:
    measured = content["repeats"]
    if unknown := sorted(measured.keys() - MEANING.keys()):
        raise ValueError(f"MEANING does not say what these figures are: {', '.join(unknown)}")
    rows = []
    for key in (key for key in MEANING if key in measured):
        raw, target = measured[key], content["targets"].get(key, "")
        rows.append([f"`{key}`", MEANING[key], _number(content[key]), f"{_number(min(raw))} to {_number(max(raw))}",
                     str(len(raw)), target.replace("<", "&lt;").replace(">", "&gt;") or "none",
                     _met(content[key], target)])  # fmt: skip
    return _table(["figure", "what", "median", "range", "repeats", "target", "met"], rows)


def _met(value: float, target: str) -> str:
    """Whether the median meets a target such as ``>= 1.8``; nothing without a target."""
    if not target:
        return ""
    relation, bound = target.split()
    return "yes" if RELATIONS[relation](value, float(bound)) else "**no**"


def _curves(note: Mapping[str, Any]) -> list[str]:
    curves = note["loss_by_epoch"]
    rows = [[str(epoch + 1), *(f"{curve[epoch]:.4f}" for curve in curves.values())] for epoch in range(note["epochs"])]
    head = f"{note['model']}, {note['examples']} images, {note['threads']} threads"
    return ["", "## Mean training loss of each epoch behind `vitb_speedup`", "", f"{head}.", "",
            *_table(["epoch", *curves], rows)]  # fmt: skip


def _peers(peers: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, title in CONTENDERS.items():
        if name in peers:
            note, raw = peers["notes"][name], peers["repeats"][name]
            versions = [
                f"{key} {version}" for key, version in note["versions"].items() if key in ("flwr", "ray", "pfl")
            ]
            rows.append([title, ", ".join(versions), note["settings"], str(note["processes"]), _number(peers[name]),
                         f"{_number(min(raw))} to {_number(max(raw))}", str(note["first_round_seconds"])])  # fmt: skip
    head = ["engine", "versions", "settings", "processes", "x bare loop", "range", "first round, s"]
    return ["", "## The same job on other engines", "", f"{peers['what'][0].upper()}{peers['what'][1:]}.", "",
            *_table(head, rows), "", *_environments([peers["environment"]])]  # fmt: skip


def _grpo(measured: Mapping[str, Any]) -> list[str]:
    rows = []
    for key, raw in measured["repeats"].items():
        case, _, other = key.partition("_over_")
        if not other or case.endswith("_processor"):
            continue
        speed, target = measured["notes"][f"{case}_sizes"]["tokens_per_second"], measured["targets"].get(key, "")
        rows.append([case, SIDES[other], f"{speed['synoptic']:,.0f}", f"{speed[other]:,.0f}", _number(measured[key]),
                     f"{_number(min(raw))} to {_number(max(raw))}", target.replace(">", "&gt;") or "none",
                     _met(measured[key], target), _number(measured[f"{case}_processor_over_{other}"]),
                     _number(measured[f"{case}_memory_of_{other}"])])  # fmt: skip
    head = ["case", "beside", "tokens/s", "theirs", "times as fast", "range", "target", "met", "by processor time",
            "memory, of theirs"]  # fmt: skip
    notes = measured["notes"]
    said = [f"{name}: {notes[name]}; {_sizes(notes[f'{name}_sizes'])}" for name in notes if f"{name}_sizes" in notes]
    return ["", "## A step of GRPO", "",
            "One step with pictures: draw a group of answers to each question, reward them, update a LoRA. All sides "
            "have the same model, prompts, reward and settings, and take turns, a step each. Memory is what resident "
            "memory grew by from the loaded model to the peak.", "", *_table(head, rows), "",
            *(f"* {line}." for line in said), "", *_environments([measured["environment"]])]  # fmt: skip


def _sizes(note: Mapping[str, Any]) -> str:
    versions = {name: version for side in note["versions"].values() for name, version in side.items()}
    return (f"{note['batch']} questions, {note['group']} answers of at most {note['tokens']} tokens, "
            f"{note['steps'] - note['warm']} steps after {note['warm']}; "
            f"{', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}")  # fmt: skip


def _environments(environments: Any) -> list[str]:
    lines = []
    for here in environments:
        versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
        lines.append(
            f"* {here['date']}, `{here['command']}`, revision {str(here['revision'])[:10]}"
            f"{' with changes in src' if here['uncommitted_changes_in_src'] else ''}: {here['processor']}, "
            f"{here['cores']} cores, load average {here['load_average_before']} before and "
            f"{here['load_average_after']} after; Python {here['python']}, {versions}."
        )
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FULL)
