"""Jobs of a command on SLURM (through submitit) or on this machine: submitted once, watched, started again where they stood."""
