"""What is installed, what really computes, and how to mend what does not."""

from dataclasses import asdict, dataclass
from typing import Any

from m3amba_geo import __version__
from m3amba_geo.errors import first_line
from m3amba_geo.events import Listener, Note, Progress, Started, Warned
from m3amba_geo.jobs.checks import CHECKS, REINSTALL, Check


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order in which one would mend what fails."""

    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "fail")

    def to_json(self) -> dict[str, Any]:
        """Returns the results of the `done` event."""
        return {
            "version": __version__,
            "healthy": not self.failures,
            "checks": [asdict(check) for check in self.checks],
        }


def run(emit: Listener) -> Diagnosis:
    """Looks at everything; what fails is in the diagnosis, nothing is raised.

    Args:
        emit: Hears of each check: a note where all is well, else a warning `doctor-NAME`.
    """
    emit(Started("doctor", __version__))
    checks: list[Check] = []
    for number, (name, look) in enumerate(CHECKS.items()):
        emit(Progress("checking", number, len(CHECKS), "checks", name))
        try:
            check = look()
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            check = Check(name, "fail", reason, REINSTALL)
        checks.append(check)
        if check.status == "ok":
            emit(Note(f"{check.name}: {check.detail}"))
        else:
            emit(Warned(f"doctor-{check.name}", f"{check.detail}. {check.remedy}"))
    emit(Progress("checking", len(CHECKS), len(CHECKS), "checks"))
    return Diagnosis(tuple(checks))
