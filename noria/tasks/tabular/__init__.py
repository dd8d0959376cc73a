"""Tabular classification and regression."""

from noria.tasks.tabular.hand_made import package_linear

__all__ = ["package_linear"]
