"""What an ask costs over sockets.

The server and each node are processes on this machine; nodes send back what they get, so what is measured is the way
there and back and nothing else.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from synoptic.deploy.keys import make_keys, read_clients
from synoptic.deploy.superlink import SuperLink, Tls

NODES = 2
SIZES = {"10 kB": 10_000, "2 MB": 2_000_000}
ASKS = 20
NODE = """
import sys
from pathlib import Path
from synoptic.deploy.resident import Door, stay

class Echo:
    ended = None
    def answer(self, content):
        if not content:
            self.ended = ""
        return content

address, ca, key = sys.argv[1:]
stay(Door(address, Path(ca) if ca else None, Path(key).read_bytes() if key else None, not ca), Echo(), 30)
"""


def measure() -> dict[str, Any]:
    """Milliseconds per ask, in plain text and over TLS with node keys."""
    with TemporaryDirectory() as folder:
        make_keys(Path(folder), ["localhost", "127.0.0.1"], [f"site-{k}" for k in range(NODES)])
        measured = {name: times(Path(folder), secure) for name, secure in (("plain", False), ("tls", True))}
    return {"nodes": NODES, "asks": ASKS, "milliseconds_per_ask": measured}


def times(folder: Path, secure: bool) -> dict[str, Any]:
    """Of asks to all nodes, in milliseconds, by size: median, 95th percentile, and the server's own computing."""
    tls = Tls(folder / "server.crt", folder / "server.key") if secure else None
    with SuperLink("127.0.0.1", 0, tls, read_clients(folder / "clients") if secure else None) as link:
        nodes = [subprocess.Popen([sys.executable, "-c", NODE, f"127.0.0.1:{link.port}",
                                   str(folder / "ca.crt") if secure else "",
                                   str(folder / "sites" / f"site-{k}.key") if secure else ""])
                 for k in range(NODES)]  # fmt: skip
        try:
            until = time.monotonic() + 300
            while len(link.nodes()) < NODES and time.monotonic() < until:
                time.sleep(0.05)
            result = {name: asks(link, bytes(size)) for name, size in SIZES.items()}
            asks(link, b"", 1)
        finally:
            for node in nodes:
                try:
                    node.wait(20)
                except subprocess.TimeoutExpired:
                    node.kill()
    return result


def asks(link: SuperLink, content: bytes, count: int = ASKS) -> dict[str, float]:
    """Times of ``count`` asks one after the other."""
    taken, cpu = [], time.process_time()
    for _ in range(count):
        started = time.perf_counter()
        waiting = set(link.send([(node, content) for node in link.nodes()], 60))
        while waiting:
            for one in link.collect(waiting):
                assert one.content == content, one.reason
                waiting.discard(one.ticket)
            time.sleep(0.002)
        taken.append(1000 * (time.perf_counter() - started))
    taken.sort()
    spent = 1000 * (time.process_time() - cpu) / count
    return {
        "server_cpu": round(spent, 1),
        "median": round(statistics.median(taken), 1),
        "p95": round(taken[int(0.95 * (len(taken) - 1))], 1),
    }
