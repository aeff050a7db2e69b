"""LEAP / ClimSim."""
