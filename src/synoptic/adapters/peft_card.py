"""The card that lies beside an exported adapter."""

from __future__ import annotations

import re
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
        parts += [_adapted(modules), loading(base, family)]
    others = sorted(extra)
    if others:
        what = "Beyond PEFT's format, `synoptic_extra.safetensors` (read by `synoptic.adapters.peft_io`) holds\n"
        parts += [what, *(f"- `{name}`" for name in others), ""]
    if any("/lora/" in name for name in others):
        parts.append("PEFT up to 0.21 adds LoRA on `nn.MultiheadAttention.out_proj` twice, so it is not given it.\n")
    return "\n".join(parts)


def is_hub_id(base: str) -> bool:
    """Whether a base's name is one of the Hugging Face hub's, ``owner/model``.

    >>> is_hub_id("openai/clip-vit-base-patch32"), is_hub_id("tiny-clip"), is_hub_id("/models/clip")
    (True, False, False)
    """
    return re.fullmatch(r"\w[\w.-]*/[\w.-]+", base) is not None


def _front_matter(base: str, loadable: bool) -> str:
    lines = ["---"]
    if is_hub_id(base):
        lines.append(f"base_model: {base}")
    lines += ["library_name: peft"] if loadable else []
    return "\n".join([*lines, "tags:", "- federated-learning", "- synoptic", "---", ""])


def _about(base: str, fingerprint: str) -> str:
    return f"The base is `{base}` (fingerprint `{fingerprint}`); it was frozen.\n"


def _adapted(modules: Mapping[str, Pair]) -> str:
    weights = {name: pair for name, pair in modules.items() if not name.endswith(OUT)}
    rows = [f"| `{name}` | {pair.rank} | {pair.scale:g} |" for name, pair in sorted(weights.items())]
    return "\n".join(["LoRA, W + scale B A:\n", "| weight | rank | scale |", "|---|---|---|", *rows, ""])


def loading(base: str, family: str, folder: str = "path/to/this/folder") -> str:
    """Four lines of Python that load the adapter in ``folder`` with plain ``transformers`` and ``peft``.

    Args:
        base: what the base is called; without a slash it ships with Synoptic, which then says where it lies.
        family: its class in ``transformers``.
        folder: of the adapter.
    """
    shipped = "/" not in base
    lines = [f"from peft import PeftModel; from transformers import {family}"]
    lines += ["from synoptic import base_folder  # the base ships with Synoptic"] if shipped else []
    where = f'base_folder("{base}")' if shipped else f'"{base}"'
    lines += [f"base = {family}.from_pretrained({where})", f'model = PeftModel.from_pretrained(base, "{folder}")']
    return "\n".join(["```python", *lines, "```", ""])
