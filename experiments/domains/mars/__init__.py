"""Mars GC-MS."""
