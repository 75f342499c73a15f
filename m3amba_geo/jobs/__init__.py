"""The jobs of the command line and of scripts: paths in, files out, events on the way."""
