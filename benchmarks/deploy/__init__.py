"""What runs over nodes cost, and what happens when things go wrong: `python -m benchmarks.deploy`."""
