"""Files that are either the old ones or the new ones, never half of each."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from synoptic.core.errors import SynopticError


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that a reader, or a restart after a crash, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files can be read by their owner alone, and these are for whoever the user's umask says.
    beside = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for text."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a missing or damaged file is one clear sentence."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SynopticError(f"{path} does not exist", "check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SynopticError(f"{path} is not readable JSON ({error})", "restore it or remove it") from error


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors, atomically."""
    write_bytes(path, save({name: t.detach().contiguous() for name, t in tensors.items()}, metadata))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Named tensors and metadata of a safetensors file; damage is one clear sentence."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise SynopticError(f"{path} does not exist", "check the path") from error
    except SafetensorError as error:
        raise SynopticError(f"{path} is truncated or damaged ({error})", "restore it or use an older one") from error


def digest(*parts: bytes | str | np.ndarray | torch.Tensor) -> str:
    """A 16-hex-digit content hash of bytes, texts and arrays (dtype and shape included)."""
    whole = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().contiguous()
            whole.update(f"{part.dtype}{tuple(part.shape)}".encode())
            # A contiguous tensor of one value may keep an odd stride, which a view as bytes refuses.
            flat = part.as_strided((part.numel(),), (1,))
            whole.update(flat.view(torch.uint8).numpy().tobytes() if part.numel() else b"")
        elif isinstance(part, np.ndarray):
            whole.update(f"{part.dtype}{part.shape}".encode())
            whole.update(np.ascontiguousarray(part).tobytes())
        else:
            whole.update(part.encode() if isinstance(part, str) else part)
        whole.update(b"\x1f")
    return whole.hexdigest()
