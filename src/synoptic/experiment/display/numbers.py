"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping

_HEADLINES = ("shared/base", "shared/local", "personal/local")


def bytes_text(count: float) -> str:
    """``2.1 MB`` (1 MB is 10^6 bytes)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def seconds_text(seconds: float) -> str:
    """``0.4 s``, ``21 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def value_text(name: str, value: float) -> str:
    """A metric's value: accuracies and preferences in percent, whatever else with four digits."""
    percent = "/accuracy" in name or "/preference" in name
    return f"{100 * value:.1f} %" if percent else f"{value:.4g}"


def headlines(metrics: Mapping[str, float]) -> str:
    """The one or two numbers to watch; or empty.

    Utilities where they are known, of several tasks their skill, else accuracies, else a preference.
    """
    for quantity in ("utility", "skill", "accuracy", "preference"):
        end = f"/{quantity}/mean"
        found = [f"{split}{end}" for split in _HEADLINES if f"{split}{end}" in metrics]
        if f"shared/base{end}" in found:
            found = [name for name in found if not name.startswith("shared/local")]
        found = found or [name for name in metrics if name.endswith(end)][:1]
        if found:
            what = "" if quantity == "accuracy" else f" {quantity}"
            return "  ".join(f"{name.removesuffix(end)}{what} {value_text(name, metrics[name])}" for name in found)
    return ""
