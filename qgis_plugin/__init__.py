"""M3amba in the QGIS Processing toolbox.

The plugin is PyQGIS and the standard library only. The work is done by the command line of
`m3amba_geo`, run as a child process by a Python of its own: nothing of it is imported into QGIS.
"""

import importlib


def classFactory(iface: object) -> object:  # the name is QGIS's
    """Returns the plugin; called by QGIS, with `iface` None where there is no window."""
    # Imported by name, so that tools that read this package need no PyQGIS.
    return importlib.import_module(".plugin", __name__).M3ambaPlugin(iface)
