"""Several labels of one row against a logistic regression of each: ``make bench-multilabel``."""
