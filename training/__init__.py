"""Recipes and scripts that reproduce the numbers the project claims."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, and why
