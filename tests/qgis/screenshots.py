"""Takes the pictures of docs/qgis.md in a real QGIS, from the North Carolina scene.

`M3AMBA_DEMO=demo M3AMBA_SHOTS=docs/images xvfb-run qgis --code tests/qgis/screenshots.py` with
the plugin installed in the profile, after `make demo`.
"""

import os
import traceback
from pathlib import Path

from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QApplication, QDockWidget, QLineEdit, QTreeView
from qgis.utils import iface

DEMO = Path(os.environ["M3AMBA_DEMO"]).absolute()
SHOTS = Path(os.environ["M3AMBA_SHOTS"]).absolute()


def shoot(widget, name):
    """Writes a picture of a widget, in few colours."""
    QApplication.processEvents()
    image = widget.grab().toImage()
    image.save(str(SHOTS / f"qgis-{name}.png"), "PNG", 0)


def load():
    """Opens the scene: three bands, and the map with the style that lies beside it."""
    project = QgsProject.instance()
    for band in (10, 20, 30, 40, 50, 70):
        path = DEMO / "data" / f"lsat7_2000_{band}.tif"
        project.addMapLayer(QgsRasterLayer(str(path), f"Landsat {band}"))
        project.layerTreeRoot().findLayers()[0].setItemVisibilityChecked(False)
    labels = QgsVectorLayer(str(DEMO / "data" / "landsat96_polygons.shp"), "Labels")
    project.addMapLayer(labels)
    project.layerTreeRoot().findLayer(labels).setItemVisibilityChecked(False)
    layer = QgsRasterLayer(str(DEMO / "map.tif"), "Land cover")
    project.addMapLayer(layer)
    root = project.layerTreeRoot()
    for node in root.findLayers():
        node.setExpanded(node.layer() is layer)
    iface.setActiveLayer(layer)
    iface.mapCanvas().setExtent(layer.extent())
    iface.mapCanvas().refreshAllLayers()


def toolbox():
    """Returns Processing's toolbox, where only this provider is open."""
    dock = iface.mainWindow().findChild(QDockWidget, "ProcessingToolbox")
    dock.show()
    dock.findChild(QLineEdit).setText("m3amba")
    dock.findChild(QTreeView).expandAll()
    return dock


def dialog(algorithm):
    """Opens the dialog of an algorithm, filled in as far as a newcomer would."""
    import processing

    layers = [layer.id() for layer in QgsProject.instance().mapLayersByName("Landsat 10")]
    usual = {"MODEL": "model.m3amba", "RASTERS": layers} if algorithm == "classify" else {}
    made = processing.createAlgorithmDialog(f"m3amba:{algorithm}", usual)
    made.resize(1000, 700)
    made.show()
    return made


def options():
    """Takes the page of settings while the options are open."""
    box = next(w for w in QApplication.topLevelWidgets() if w.objectName() == "QgsOptionsBase")
    box.resize(1000, 620)
    tree = box.findChild(QTreeView, "mOptionsTreeView")
    tree.scrollTo(tree.currentIndex())
    tree.parent().parent().setSizes([240, 760])
    QApplication.processEvents()
    shoot(box, "options")
    box.reject()


def run():
    """Takes all pictures, then ends QGIS."""
    try:
        window = iface.mainWindow()
        window.resize(1280, 800)
        for name in ("Browser", "Browser2"):
            dock = window.findChild(QDockWidget, name)
            if dock:
                dock.hide()
        toolbox()
        view = iface.layerTreeView()
        view.setExpanded(view.currentIndex(), True)
        QTimer.singleShot(4000, lambda: (iface.messageBar().clearWidgets(), shoot(window, "map")))
        QTimer.singleShot(5000, take_dialogs)
    except Exception:
        traceback.print_exc()
        os._exit(1)


def take_dialogs():
    """Takes toolbox, dialogs and options."""
    try:
        shoot(toolbox(), "toolbox")
        for name in ("classify", "train", "sample", "setup"):
            made = dialog(name)
            QApplication.processEvents()
            shoot(made, name)
            made.close()
        QTimer.singleShot(1500, options)
        iface.showOptionsDialog(iface.mainWindow(), "M3ambaOptions")
    finally:
        QTimer.singleShot(500, lambda: os._exit(0))


load()
QTimer.singleShot(3000, run)
