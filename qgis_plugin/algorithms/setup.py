"""Set up or repair the backend."""

from qgis.core import (
    QgsProcessingException,
    QgsProcessingOutputString,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
)

from .. import settings
from ..backend import BackendMissingError, new_log
from ..setup.errors import SetupError
from ..setup.plan import BUILDS
from ..translate import tr
from .base import M3ambaAlgorithm


class SetUp(M3ambaAlgorithm):
    """`m3amba:setup`."""

    command = "setup"
    title = "Set up M3amba"
    summary = (
        "Installs or repairs the backend in an environment of its own, in the folder of the QGIS "
        "profile. Nothing is installed into the Python of QGIS. It says what is downloaded and how "
        "much, and checks that the result works; a backend that works is kept until then."
    )
    tag_words = "install,repair,update,backend,environment,python,torch,gpu,cuda,offline"
    example = "-- BUILD=cpu"

    def initAlgorithm(self, configuration=None):
        """Declares the parameters."""
        self.add(
            QgsProcessingParameterEnum(
                "BUILD",
                tr("Build"),
                list(BUILDS),
                defaultValue=BUILDS[0],
                usesStaticStrings=True,
            ),
            tr(
                "auto: for the NVIDIA GPU if there is one (about 3.2 GiB to download, 6.5 GiB on "
                "disk), else for the CPU (0.6 and 1.8 GiB). cpu, gpu: as you say. index: whatever "
                "the package index has, for a mirror."
            ),
        )
        self.add(
            QgsProcessingParameterFile(
                "SOURCE",
                tr("Folder of wheels"),
                QgsProcessingParameterFile.Behavior.Folder,
                optional=True,
            ),
            tr(
                "For a set-up without a network: a folder with the wheels of m3amba-geo and all "
                "that it needs. May also be a checkout, or the path of the m3amba-geo wheel. "
                "Empty: the package index."
            ),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFile("PYTHON", tr("Python to start from"), optional=True),
            tr(
                "Python 3.11 to 3.13. Empty: one is looked for; where none is, uv downloads one "
                "into the folder of the profile."
            ),
            advanced=True,
        )
        self.addOutput(QgsProcessingOutputString("BACKEND", tr("Python of the backend")))

    def processAlgorithm(self, parameters, context, feedback):
        """Makes the backend, in a thread of its own.

        Raises:
            QgsProcessingException: It did not succeed; what it had made is gone.
        """
        from ..setup.environment import Wish, make  # most starts of QGIS need no installer

        wish = Wish(
            self.parameterAsFile(parameters, "SOURCE", context),
            self.parameterAsEnumString(parameters, "BUILD", context),
            self.parameterAsFile(parameters, "PYTHON", context),
        )
        try:
            log = new_log(settings.folder() / "logs", self.command)
            made = make(settings.backend_folder(), wish, _Told(feedback), log)
        except (SetupError, OSError) as error:
            raise QgsProcessingException(str(error)) from error
        try:
            used = settings.backend_python()
        except BackendMissingError as error:  # what the settings name is no program
            feedback.pushWarning(str(error))
            return {"BACKEND": str(made.python)}
        if used != made.python:
            feedback.pushWarning(
                tr(
                    "{} stays in use, since it is named in the settings or in M3AMBA_PYTHON."
                ).format(used)
            )
        return {"BACKEND": str(made.python)}


class _Told:
    """Tells the user of QGIS how far a set-up is."""

    def __init__(self, feedback):
        self._feedback = feedback

    def info(self, text):
        self._feedback.pushInfo(text)

    def phase(self, text):
        self._feedback.setProgressText(text)

    def fraction(self, value):
        self._feedback.setProgress(100 * value)

    def is_cancelled(self):
        return self._feedback.isCanceled()
