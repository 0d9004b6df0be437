"""A synthetic shop whose truth is known: rendered products, simulated shoppers, a small model."""
