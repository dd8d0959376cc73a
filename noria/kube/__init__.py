"""Noria on a Kubernetes API: the one package that imports the kubernetes client."""
