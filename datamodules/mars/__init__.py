"""GC-MS runs of the Mars Spectrometry competition: tables of (time, mass, intensity) to images, folds and batches."""
