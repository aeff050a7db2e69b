"""LEAP / ClimSim low-res: 60-level atmospheric columns to 368 tendencies and fluxes."""
