"""One way to translate the plugin's texts."""

from qgis.PyQt.QtCore import QCoreApplication


def tr(text):
    """Returns the text in the user's language, where there is a translation."""
    return QCoreApplication.translate("M3amba", text)
