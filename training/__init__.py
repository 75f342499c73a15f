"""Recipes and scripts that reproduce the numbers the project claims."""
