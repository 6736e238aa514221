"""Methods: one file per algorithm, written to be read beside the paper."""
