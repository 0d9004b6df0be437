"""Neighbours by picture, title, description and shoppers side by side; suspects; word quality."""
