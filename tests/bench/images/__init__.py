"""Bench of pictures."""
