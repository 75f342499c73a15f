"""The plugin's settings, under Options > Processing > Providers > M3amba."""

from processing.core.ProcessingConfig import ProcessingConfig, Setting

from .translate import tr

PYTHON = "M3AMBA_PYTHON"


def register(provider):
    """Shows the settings in the options of Processing."""
    group = provider.name()
    ProcessingConfig.settingIcons[group] = provider.icon()
    ProcessingConfig.addSetting(
        Setting(group, PYTHON, tr("Python with m3amba-geo installed"), "", valuetype=Setting.FILE)
    )
    ProcessingConfig.readSettings()


def unregister():
    """Takes them away again."""
    ProcessingConfig.removeSetting(PYTHON)


def backend_python():
    """Returns the path the user has set, or an empty string."""
    return ProcessingConfig.getSetting(PYTHON) or ""
