"""Interactions in, one vector for each user out."""
