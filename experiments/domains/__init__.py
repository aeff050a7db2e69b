"""What the engine asks of each domain."""
