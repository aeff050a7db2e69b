"""The MoA task: its settings, and the choice of its net."""
