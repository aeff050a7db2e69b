"""Plain ``nn.Module`` architectures; nothing here knows of Lightning."""
