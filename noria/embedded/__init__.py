"""The loop on one machine, without a cluster: the composition root and its facade."""
