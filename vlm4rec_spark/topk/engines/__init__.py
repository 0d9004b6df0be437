"""Engines behind one interface: exact, list_major, scann; and the choice between them."""
