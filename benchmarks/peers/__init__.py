"""The same FedAvg job on other engines, each in an environment of its own: `python -m benchmarks.peers`."""
