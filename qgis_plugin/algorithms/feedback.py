"""What the backend says while it runs, told to the user."""

import time

from ..report import Course

TEXT_EVERY = 5.0  # seconds


class Teller:
    """Turns events into progress and lines of the log, and keeps what a report may want."""

    def __init__(self, feedback):
        self.course = Course()
        self._feedback = feedback
        self._phase = ""
        self._told_at = 0.0
        self._tell = {
            "started": self._started,
            "progress": self._progress,
            "metric": self._metric,
            "note": self._note,
            "warning": self._warning,
            "artifact": self._artifact,
        }

    def __call__(self, event):
        """Tells one event; kinds that a later backend adds are passed over."""
        tell = self._tell.get(event.name)
        if tell is not None:
            tell(event)

    def _started(self, event):
        self._feedback.pushInfo(f"m3amba-geo {event.text('version')}: {event.text('job')}")

    def _progress(self, event):
        phase, text = event.text("phase"), event.text("message")
        now = time.monotonic()
        # Each text is a line of the log: that of every step would flood it.
        if phase != self._phase or now - self._told_at > TEXT_EVERY:
            self._phase, self._told_at = phase, now
            self._feedback.setProgressText(f"{phase}: {text}" if text else phase)
        total = event.number("total")
        if total > 0:
            self._feedback.setProgress(100 * min(event.number("done") / total, 1))

    def _metric(self, event):
        step = event.text("step")
        at = f" ({step})" if step else ""
        self._feedback.pushInfo(f"{event.text('metric')}{at}: {event.number('value'):.4g}")
        points = self.course.metrics.setdefault(event.text("metric"), [])
        points.append((event.number("step") if step else float(len(points)), event.number("value")))

    def _note(self, event):
        self._feedback.pushInfo(event.text("message"))
        self.course.notes.append(event.text("message"))

    def _warning(self, event):
        text = f"{event.text('message')} [{event.text('code')}]"
        self._feedback.pushWarning(text)
        self.course.warnings.append(text)

    def _artifact(self, event):
        self._feedback.pushInfo(f"{event.text('role')}: {event.text('path')}")
