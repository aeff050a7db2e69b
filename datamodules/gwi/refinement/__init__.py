"""Full-waveform inversion from a net's map: the map is moved until its simulated gathers are the recorded ones."""
