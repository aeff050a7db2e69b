"""GWI / OpenFWI."""
