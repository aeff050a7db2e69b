"""GWI: seismic gathers to velocity maps, judged by mean absolute error."""
