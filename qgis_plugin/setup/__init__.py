"""Set-up of the backend's own environment; standard library only, and no QGIS."""
