"""Words in, unit vectors out."""
