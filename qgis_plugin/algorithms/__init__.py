"""The algorithms: one declarative file each, and one shared way to run them."""
