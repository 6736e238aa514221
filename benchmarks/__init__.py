"""Side-by-side measurements: `python -m benchmarks.engine`, `... benchmarks.peers`, `... benchmarks.table`."""
