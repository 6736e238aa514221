"""`synoptic watch`: follow a run of another process."""
