"""Several monitors of one model: replicas summarise rows, one aggregator tests them."""
