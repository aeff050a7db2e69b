"""GWI / OpenFWI: seismic gathers and the velocity maps they were shot over."""
