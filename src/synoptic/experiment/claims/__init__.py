"""Claims: sentences about methods that a command can check.

`spec` reads a claims file, `relation` what a claim says of measured numbers, `judge` decides it, `check` runs what it
needs, `results`, `page` and `show` write it down.
"""
