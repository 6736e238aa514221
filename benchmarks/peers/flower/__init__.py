"""Flower 1.41, simulation engine."""
