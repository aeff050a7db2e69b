"""Mars Spectrometry 2: GC-MS images to compound classes."""
