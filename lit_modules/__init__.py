"""LightningModules (loss, metrics, optimiser, schedule) and the plain nets they train."""
