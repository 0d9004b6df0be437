"""The catalogue: items, their pictures, and what is wrong with either."""
