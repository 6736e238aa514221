"""pfl-research 0.6."""
