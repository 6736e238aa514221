"""One file for each question; every `measure(quick)` returns a `benchmarks.measure.Result`."""
