"""Benchmarks, run by `make bench-NAME`; each ends with one line of JSON."""
