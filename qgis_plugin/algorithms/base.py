"""What all algorithms share: they collect arguments, run the backend, and hand back files."""

from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
)
from qgis.PyQt.QtGui import QIcon

from ..backend import BackendMissingError, Job, find_python, new_log, run
from ..settings import backend_python
from ..translate import tr
from .feedback import Teller

ICON = str(Path(__file__).parents[1] / "icon.svg")
DEVICES = ["auto", "cpu", "cuda", "mps"]
DEVICE_HELP = "auto, cpu, cuda or mps: where to compute; auto takes a GPU where there is one."


class BackendAlgorithm(QgsProcessingAlgorithm):
    """Runs one command of the backend.

    An algorithm states `command` (its id, too), `title`, `summary`, `tag_words` and its parameters,
    and turns them into arguments: `inputs` in QGIS's main thread, where layers live, `outputs` in
    the thread of the run, whose context loads them.
    """

    command = ""
    title = ""
    summary = ""
    tag_words = ""

    def inputs(self, parameters, context, feedback):
        """Returns the arguments that name inputs and options."""
        raise NotImplementedError

    def outputs(self, parameters, context):
        """Returns the arguments that name outputs, and the results by parameter name."""
        raise NotImplementedError

    def add(self, parameter, text, advanced=False):
        """Adds a parameter with its help."""
        parameter.setHelp(text)
        if advanced:
            flag = QgsProcessingParameterDefinition.Flag.FlagAdvanced
            parameter.setFlags(parameter.flags() | flag)
        self.addParameter(parameter)

    def name(self):
        """Returns the id within the provider; never translated."""
        return self.command

    def displayName(self):
        """Returns the name in the toolbox."""
        return tr(self.title)

    def shortDescription(self):
        """Returns the tooltip."""
        return tr(self.summary)

    def shortHelpString(self):
        """Returns the help beside the dialog: what it does, then every parameter."""
        parameters = "".join(
            f"<h3>{p.description()}</h3><p>{p.help()}</p>" for p in self.parameterDefinitions()
        )
        return f"<p>{tr(self.summary)}</p>{parameters}"

    def tags(self):
        """Returns what else the toolbox's search finds it by."""
        return tr(self.tag_words).split(",")

    def icon(self):
        """Returns the icon in the toolbox."""
        return QIcon(ICON)

    def createInstance(self):
        """Returns a fresh one for each run."""
        return type(self)()

    def checkParameterValues(self, parameters, context):
        """Refuses, before anything runs, what can't work."""
        fits, message = super().checkParameterValues(parameters, context)
        if not fits:
            return fits, message
        try:
            find_python(backend_python())
        except BackendMissingError as error:
            return False, str(error)
        message = self.preflight(parameters, context)
        return not message, message

    def preflight(self, parameters, context):
        """Returns what is wrong with the inputs, empty where nothing is; must be quick."""
        return ""

    def prepareAlgorithm(self, parameters, context, feedback):
        """Collects the inputs, in the main thread."""
        self._inputs = self.inputs(parameters, context, feedback)
        return True

    def processAlgorithm(self, parameters, context, feedback):
        """Runs the backend, in a thread of its own.

        Raises:
            QgsProcessingException: At every end but success, so that no model goes on with nothing.
        """
        arguments, results = self.outputs(parameters, context)
        try:
            log = new_log(
                Path(QgsApplication.qgisSettingsDirPath(), "m3amba", "logs"), self.command
            )
            python = find_python(backend_python())
            job = Job(python, [self.command, *self._inputs, *arguments], log)
            report = run(job, Teller(feedback), feedback.isCanceled)
        except (BackendMissingError, OSError) as error:
            raise QgsProcessingException(str(error)) from error
        ending = report.ending
        if ending.status == "done":
            return results
        if ending.status == "cancelled":
            raise QgsProcessingException(tr("Cancelled: no output was written."))
        for line in report.tail:
            feedback.reportError(line)
        raise QgsProcessingException(
            f"{ending.message} {ending.hint} [{ending.code}; {tr('log')}: {log}]"
        )
