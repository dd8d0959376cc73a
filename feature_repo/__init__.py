"""The Feast repository of the example models: flights out of New York and their weather.

``definitions`` is what Feast reads. ``nycflights`` makes the files that it points at. The
paths in the definitions and in ``feature_store.yaml`` are relative, so the repository works
in any folder that holds ``data/``: Noria opens it in the folder of the model's file.
"""
