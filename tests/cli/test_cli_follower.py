"""A process of `torchrun` that is not the first: at its end the others are stopped."""

import signal
import threading
import time

import pytest

from m3amba_geo.cli import follower
from m3amba_geo.cli.cancel import Cancellation
from m3amba_geo.cli.follower import Follower
from m3amba_geo.events import Failed, Started

FAILED = Failed("usage", "No.", "Yes.")


@pytest.fixture
def cancellation():
    before = signal.getsignal(signal.SIGTERM)
    yield Cancellation()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def speak(cancellation, monkeypatch):
    """Tells a follower of events; returns the seconds that it took."""

    def speak(event, patience):
        monkeypatch.setattr(follower, "PATIENCE", patience)
        quiet = Follower(cancellation)
        started = time.monotonic()
        try:
            quiet.emit(event)
        finally:
            quiet.close()
        return time.monotonic() - started

    return speak


def test_after_a_failure_it_waits_until_it_is_stopped(speak):
    before = signal.getsignal(signal.SIGTERM)
    stopped = []

    def stop():  # as the signal does; real ones come in tests/jobs/test_train_processes.py
        while (waiting := signal.getsignal(signal.SIGTERM)) is before:
            time.sleep(0.01)
        time.sleep(0.3)  # one that does not wait has gone by now
        stopped.append(True)
        waiting(signal.SIGTERM, None)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    assert speak(FAILED, patience=60) < 30
    assert stopped
    thread.join()


def test_its_patience_ends(speak):
    assert speak(FAILED, patience=0.3) >= 0.3


def test_it_does_not_wait_otherwise(speak, cancellation):
    assert speak(Started("train", "1"), patience=60) < 30
    cancellation.asked = True
    assert speak(FAILED, patience=60) < 30
