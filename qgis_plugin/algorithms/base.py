"""What all algorithms share: they collect arguments, run the backend, and hand back files."""

from __future__ import annotations

import html
from pathlib import Path

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
)
from qgis.PyQt.QtGui import QIcon

from .. import settings
from ..backend import BackendMissingError, Job, new_log, run
from ..translate import tr
from .feedback import Teller
from .layers import absolute, raster_path

ICONS = Path(__file__).parents[1] / "icons"
HELP_URL = "https://github.com/m3amba-geo/m3amba-geo/blob/main/docs/qgis.md"


class M3ambaAlgorithm(QgsProcessingAlgorithm):
    """Name, help and icon.

    An algorithm states `command` (its id, and the name of its icon), `title`, `summary`,
    `tag_words` (separated by commas), `example` (the arguments of `qgis_process`), and its
    parameters.
    """

    command = ""
    title = ""
    summary = ""
    tag_words = ""
    example = ""

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
        """Returns the help beside the dialog: what it does, every parameter, an example."""
        parameters = "".join(
            f"<h3>{p.description()}</h3><p>{p.help()}</p>" for p in self.parameterDefinitions()
        )
        line = html.escape(f"qgis_process run m3amba:{self.command} {self.example}".strip())
        example = f"<h3>{tr('Example')}</h3><p><code>{line}</code></p>"
        return f"<p>{tr(self.summary)}</p>{parameters}{example}"

    def helpUrl(self):
        """Returns the page on QGIS in the documentation."""
        return HELP_URL

    def tags(self):
        """Returns what else the toolbox's search finds it by."""
        return tr(self.tag_words).split(",")

    def icon(self):
        """Returns the icon in the toolbox."""
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        """Returns the icon's file, for model diagrams."""
        return str(ICONS / f"{self.command}.svg")

    def createInstance(self):
        """Returns a fresh one for each run."""
        return type(self)()


class BackendAlgorithm(M3ambaAlgorithm):
    """Runs one command of the backend.

    An algorithm turns its parameters into arguments: `inputs` in QGIS's main thread, where layers
    live, `outputs` in the thread of the run, whose context loads them.
    """

    def inputs(self, parameters, context, feedback):
        """Returns the arguments that name inputs and options."""
        return []

    def outputs(self, parameters, context):
        """Returns the arguments that name outputs, and the results by parameter name."""
        return [], {}

    def finish(self, told, course, results):
        """Adds to `results` what the backend told; called when it has succeeded."""

    def preflight(self, parameters, context):
        """Returns what is wrong with the inputs, empty where nothing is; must be quick."""
        return ""

    def add_choice(self, name, description, options, text, advanced=False):
        """Adds a choice among words that are the backend's; the first one is usual."""
        parameter = QgsProcessingParameterEnum(
            name, description, options, defaultValue=options[0], usesStaticStrings=True
        )
        self.add(parameter, text, advanced)

    def add_flag(self, name, description, text, usual=False):
        """Adds something to switch on or off, folded away."""
        parameter = QgsProcessingParameterBoolean(name, description, defaultValue=usual)
        self.add(parameter, text, advanced=True)

    def add_device(self):
        """Adds where to compute."""
        parameter = QgsProcessingParameterEnum(
            "DEVICE",
            tr("Device"),
            settings.DEVICES,
            defaultValue=settings.device(),
            usesStaticStrings=True,
        )
        text = tr(
            "Where to compute: auto takes a GPU where there is one. What is usual is set under "
            "Settings > Options > M3amba."
        )
        self.add(parameter, text, advanced=True)

    def add_network(self):
        """Adds whether inputs may lie on servers."""
        self.add_flag(
            "ALLOW_NETWORK",
            tr("Allow the network"),
            tr(
                "Reads rasters and labels from servers, too, such as /vsicurl/ layers. Off unless "
                "you trust the files: one from a stranger may make this machine ask any server."
            ),
        )

    def options(self, parameters, context, names):
        """Returns the arguments of plain parameters: `GUIDE_WEIGHTS` becomes `--guide-weights`.

        What is left empty is left out, so that the backend chooses.
        """
        arguments = []
        for name in names:
            value = self._value(self.parameterDefinition(name), parameters, context)
            option = f"--{name.lower().replace('_', '-')}"
            if value is True:
                arguments.append(option)
            elif value not in (None, "", False):
                arguments += [option, str(value)]
        return arguments

    def _value(self, definition, parameters, context):
        name = definition.name()
        if isinstance(definition, QgsProcessingParameterEnum):
            return self.parameterAsEnumString(parameters, name, context)
        if isinstance(definition, QgsProcessingParameterBoolean):
            return self.parameterAsBool(parameters, name, context)
        if parameters.get(name) in (None, "") and definition.defaultValue() is None:
            return None
        if isinstance(definition, QgsProcessingParameterNumber):
            whole = definition.dataType() == QgsProcessingParameterNumber.Type.Integer
            take = self.parameterAsInt if whole else self.parameterAsDouble
            # As text: 0 is a number to hand over, not one that is missing.
            return f"{take(parameters, name, context):.15g}"
        if isinstance(definition, QgsProcessingParameterFile):
            return absolute(self.parameterAsFile(parameters, name, context))
        if isinstance(definition, QgsProcessingParameterRasterLayer):
            return raster_path(self.parameterAsRasterLayer(parameters, name, context))
        return self.parameterAsString(parameters, name, context)

    def checkParameterValues(self, parameters, context):
        """Refuses, before anything runs, what can't work."""
        fits, message = super().checkParameterValues(parameters, context)
        if not fits:
            return fits, message
        try:
            settings.backend_python()
        except BackendMissingError as error:
            return False, str(error)
        message = self.preflight(parameters, context)
        return not message, message

    def prepareAlgorithm(self, parameters, context, feedback):
        """Collects the inputs, in the main thread."""
        self._inputs = self.inputs(parameters, context, feedback)
        self._described = [
            (p.description(), str(parameters[p.name()]))
            for p in self.parameterDefinitions()
            if parameters.get(p.name()) not in (None, "")
        ]
        return True

    def processAlgorithm(self, parameters, context, feedback):
        """Runs the backend, in a thread of its own.

        Raises:
            QgsProcessingException: At every end but success, so that no model goes on with nothing.
        """
        arguments, results = self.outputs(parameters, context)
        teller = Teller(feedback)
        try:
            log = new_log(settings.folder() / "logs", self.command)
            job = Job(
                settings.backend_python(),
                [self.command, *self._inputs, *arguments],
                log,
                settings.child_variables(),
            )
            report = run(job, teller, feedback.isCanceled)
        except (BackendMissingError, OSError) as error:
            raise QgsProcessingException(str(error)) from error
        ending = report.ending
        if ending.status == "cancelled":
            raise QgsProcessingException(tr("Cancelled: no output was written."))
        if ending.status != "done":
            for line in report.tail:
                feedback.reportError(line)
            raise QgsProcessingException(
                f"{ending.message} {ending.hint} [{ending.code}; {tr('log')}: {log}]"
            )
        try:
            self.finish(ending.results, teller.course, results)
        except OSError as error:  # a report of the plugin's own, in a folder that is not there
            raise QgsProcessingException(str(error)) from error
        return results
