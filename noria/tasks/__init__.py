"""The machine-learning task families, and the package format that their models are kept in."""
