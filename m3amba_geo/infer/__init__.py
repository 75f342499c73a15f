"""From a model and a stack of rasters to the rows of a map."""
