"""A scenario over many values: one run for each combination, over processes or a Dask cluster. Must not know the command line."""
