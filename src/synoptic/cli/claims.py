"""`synoptic claims`: statements that a command can check."""
