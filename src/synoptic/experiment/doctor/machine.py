"""Cores, load, memory, disk and devices, and what they mean for a run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from synoptic.experiment.display.numbers import bytes_text
from synoptic.experiment.doctor.check import Check

BUSY = 0.5
"""Cores at work for others from which on a run takes a single thread (`synoptic.experiment.compute`)."""

ROOM = 10**9
"""Bytes of disk below which one should look."""

GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells what a container may use."""


def cores() -> Iterator[Check]:
    """Cores that this process may use; a container's share may be less than the cores it sees."""
    there, usable, share = os.cpu_count() or 1, usable_cores(), _share()
    found = f"{usable} usable" if usable == there else f"{usable} of {there} usable"
    if share is not None and share < usable:
        yield Check("cores", "note", f"{found}, but only {share:g} of their time is granted here",
                    f"set compute.threads={max(1, int(share))}")  # fmt: skip
    else:
        yield Check("cores", "fine", found)


def load_and_threads() -> Iterator[Check]:
    """Who else is at work, and whether PyTorch would ask for more threads than there are idle cores."""
    import torch

    from synoptic.experiment.compute import busy_cores

    usable, busy, threads = usable_cores(), busy_cores(), torch.get_num_threads()
    found = f"{busy:.1f} of {usable} cores busy with other work"
    if busy < BUSY:
        yield Check("load", "fine", found)
    else:
        yield Check("load", "note", found, "expect slower rounds: runs take one thread while others work")
    omp = os.environ.get("OMP_NUM_THREADS")
    found = f"PyTorch takes {threads}, OMP_NUM_THREADS is {omp or 'not set'}"
    if threads > max(1, usable - busy + BUSY):
        yield Check("threads", "note", f"{found}; more threads than idle cores wait for each other",
                    "leave compute.threads=auto, which measures; elsewhere set OMP_NUM_THREADS=1")  # fmt: skip
    else:
        yield Check("threads", "fine", found)


def memory() -> Iterator[Check]:
    """Memory, and whether the cache of frozen features fits by its default."""
    from synoptic.experiment.recipe import ComputeSpec
    from synoptic.models.cache import parse_bytes

    default = ComputeSpec().cache_memory
    total, free = _memory()
    found = f"{bytes_text(total)}, {bytes_text(free) if free is not None else 'unknown'} free"
    if free is not None and free < parse_bytes(default):
        yield Check("memory", "note", f"{found}; a run's cache may take {default}",
                    f"set compute.cache_memory={free // 2**21}MiB")  # fmt: skip
    else:
        yield Check("memory", "fine", f"{found}; a run's cache may take {default}")
    shared = Path("/dev/shm")
    if shared.is_dir():
        yield Check("shared memory", "fine", f"{bytes_text(shutil.disk_usage(shared).free)} free")


def disk() -> Iterator[Check]:
    """Where runs go and where caches spill to: room, and whether files can be written and locked."""
    from synoptic.experiment.recipe import Recipe

    output = str(Recipe.model_fields["output"].default)
    yield _place("run folder", Path(output), "set output=FOLDER to a place that you can write to")
    yield _place("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a place that you can write to")


def devices() -> Iterator[Check]:
    """Accelerators that PyTorch sees."""
    import torch

    found = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("Apple GPU (mps)")
    text = f"{', '.join(found)}; runs use the CPU" if found else "the CPU; PyTorch sees no accelerator"
    yield Check("devices", "fine", text)


def usable_cores() -> int:
    """Cores that the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share() -> float | None:
    """Cores' worth of time that a container may use; None without a limit."""
    words = _words(GROUP / "cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _memory() -> tuple[int, int | None]:
    """Bytes in all and free, of the machine or of the container, whichever is less."""
    known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _lines(Path("/proc/meminfo"))}
    total = known.get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = known.get("MemAvailable")
    limit, used = _words(GROUP / "memory.max"), _words(GROUP / "memory.current")
    if limit and used and limit[0] != "max" and int(limit[0]) < total:
        total = int(limit[0])
        free = min(total - int(used[0]), free if free is not None else total)
    return total, free


def _place(name: str, path: Path, fix: str) -> Check:
    from filelock import FileLock

    # The folder is made by the first run; until then the nearest one that exists decides.
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
    try:
        with tempfile.TemporaryDirectory(dir=there) as folder, FileLock(Path(folder) / "lock", timeout=1):
            free = shutil.disk_usage(there).free
    except (OSError, NotImplementedError) as error:
        return Check(name, "broken", f"{there} cannot be written ({getattr(error, 'strerror', None) or error})", fix)
    if free < ROOM:
        return Check(name, "note", f"{there}, {bytes_text(free)} free", f"make room, or {fix}")
    return Check(name, "fine", f"{there}, {bytes_text(free)} free")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]
