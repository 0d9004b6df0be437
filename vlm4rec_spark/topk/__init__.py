"""Vectors in, lists of items with reasons out."""
