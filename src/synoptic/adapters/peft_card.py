"""The card that lies beside an exported adapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synoptic.adapters.peft_layout import OUT, Pair


def model_card(base: str, fingerprint: str, family: str, modules: Mapping[str, Pair], extra: Iterable[str]) -> str:
    """A short README in Hugging Face's card format.

    Args:
        base: what the user called the base.
        fingerprint: hash of its weights and configuration.
        family: its class in ``transformers``.
        modules: LoRA pairs by PEFT module.
        extra: names of tensors that plain PEFT does not load.
    """
    parts = [_front_matter(base, bool(modules)), "# Adapter made with Synoptic\n", _about(base, fingerprint)]
    if modules:
        parts += [_adapted(modules), _loading(base, family)]
    others = sorted(extra)
    if others:
        what = "Beyond PEFT's format, `synoptic_extra.safetensors` (read by `synoptic.adapters.peft_io`) holds\n"
        parts += [what, *(f"- `{name}`" for name in others), ""]
    return "\n".join(parts)


def _front_matter(base: str, loadable: bool) -> str:
    lines = ["---"]
    if base.count("/") == 1 and not base.startswith((".", "/", "~")):
        lines.append(f"base_model: {base}")
    lines += ["library_name: peft"] if loadable else []
    return "\n".join([*lines, "tags:", "- federated-learning", "- synoptic", "---", ""])


def _about(base: str, fingerprint: str) -> str:
    shipped = "" if "/" in base else (
        f" `{base}` ships with Synoptic; its folder is `synoptic.models.load.embedded()[\"{base}\"]`."
    )  # fmt: skip
    return f"The base is `{base}` (fingerprint `{fingerprint}`); it was frozen.{shipped}\n"


def _adapted(modules: Mapping[str, Pair]) -> str:
    weights = {name.replace(OUT, ".out_proj"): pair for name, pair in modules.items()}
    rows = [f"| `{name}` | {pair.rank} | {pair.scale:g} |" for name, pair in sorted(weights.items())]
    return "\n".join(["LoRA, W + scale B A:\n", "| weight | rank | scale |", "|---|---|---|", *rows, ""])


def _loading(base: str, family: str) -> str:
    return "\n".join([
        "```python",
        f"from peft import PeftModel; from transformers import {family}",
        "",
        f'base = {family}.from_pretrained("{base}")',
        'model = PeftModel.from_pretrained(base, "path/to/this/folder")',
        "```",
        "",
    ])  # fmt: skip
