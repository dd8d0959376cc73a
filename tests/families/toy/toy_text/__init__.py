"""A task family for Noria's tests: how pleasant and lively a text is."""
