"""What turns a declaration and a command line into a run."""
