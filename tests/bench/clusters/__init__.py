"""Clusters of labelled data, by defaults and by plain scikit-learn."""
