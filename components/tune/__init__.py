"""The tune component."""
