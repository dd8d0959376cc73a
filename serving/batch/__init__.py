"""Predictions of files of any size: part by part, resumable, by the predictor that is served."""
