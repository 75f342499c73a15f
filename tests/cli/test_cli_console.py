"""What people read of events."""

from io import StringIO

from rich.console import Console

from m3amba_geo.cli.console import Plain
from m3amba_geo.events import Metric, Progress


def test_progress_is_told_in_the_words_of_its_own_job():
    file = StringIO()
    people = Plain(Console(file=file, width=120))
    people.emit(Metric("validation_overall_accuracy", 0.9, 400))  # of a training before
    people.emit(Progress("mapping", 443, 443, "rows"))
    people.emit(Progress("training", 400, 400, "steps", "loss 0.5"))
    assert file.getvalue() == "mapping: 443/443 rows\ntraining: 400/400 steps, loss 0.5\n"
