"""Prediction banks: rows with ids and predictions."""
