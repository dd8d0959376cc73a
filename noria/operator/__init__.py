"""The composition root on Kubernetes: reconciles Model resources (kopf)."""
