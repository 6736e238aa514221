"""`synoptic export` and `synoptic predict`: adapters for use elsewhere."""
