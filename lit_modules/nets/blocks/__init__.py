"""Small building blocks, one to a file, each naming the paper or write-up it comes from."""
