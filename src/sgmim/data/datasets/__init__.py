"""Benchmarks as their makers lay them out, a reader each."""
