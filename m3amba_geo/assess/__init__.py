"""How well a map agrees with labels: the measures, and their reports."""
