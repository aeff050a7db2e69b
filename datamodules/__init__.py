"""Raw files to validated rows with ids, to folds, to batches."""
