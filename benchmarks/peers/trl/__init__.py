"""GRPO on a generative model: TRL, a plain transformers loop, and Synoptic."""
