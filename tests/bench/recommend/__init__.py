"""Recommendations for those who have rated films: MovieLens."""
