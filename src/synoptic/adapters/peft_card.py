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
    if any("/lora/" in name for name in others):
        parts.append("PEFT up to 0.21 adds LoRA on `nn.MultiheadAttention.out_proj` twice, so it is not given it.\n")
    return "\n".join(parts)


def _front_matter(base: str, loadable: bool) -> str:
    lines = ["---"]
    if base.count("/") == 1 and not base.startswith((".", "/", "~")):
        lines.append(f"base_model: {base}")
    lines += ["library_name: peft"] if loadable else []
    return "\n".join([*lines, "tags:", "- federated-learning", "- synoptic", "---", ""])


def _about(base: str, fingerprint: str) -> str:
    return f"The base is `{base}` (fingerprint `{fingerprint}`); it was frozen.\n"


def _adapted(modules: Mapping[str, Pair]) -> str:
    weights = {name: pair for name, pair in modules.items() if not name.endswith(OUT)}
    rows = [f"| `{name}` | {pair.rank} | {pair.scale:g} |" for name, pair in sorted(weights.items())]
    return "\n".join(["LoRA, W + scale B A:\n", "| weight | rank | scale |", "|---|---|---|", *rows, ""])


def _loading(base: str, family: str) -> str:
    shipped = "/" not in base
    lines = [f"from peft import PeftModel; from transformers import {family}"]
    lines += ["from synoptic.models.load import embedded  # the base ships with Synoptic"] if shipped else []
    where = f'embedded()["{base}"]' if shipped else f'"{base}"'
    lines += [f"base = {family}.from_pretrained({where})",
              'model = PeftModel.from_pretrained(base, "path/to/this/folder")']  # fmt: skip
    return "\n".join(["```python", *lines, "```", ""])
