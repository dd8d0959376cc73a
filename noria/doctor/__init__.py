"""What a cluster has, what Noria needs of it, and how to mend what is missing."""
