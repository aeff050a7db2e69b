"""LEAP: input representations, losses and LightningModules of the two winning systems."""
