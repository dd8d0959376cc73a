"""A task family for Noria's tests: how a text feels."""
