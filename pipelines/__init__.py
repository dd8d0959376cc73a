"""KFP pipelines composed from ``components``, their compiled form, and the local runner.

Importing this package does not import KFP; its modules do.
"""
