"""One tree of errors: each class has a stable code, an exit status, a message and a remedy.

Callers match the class or the code, never the text. A message names the value that was wrong and
what was expected; the hint says what to do about it.
"""

import errno


class M3ambaError(Exception):
    """Root of every error that the user may meet.

    Attributes:
        code: Stable identifier, written to the `failed` event.
        exit_status: Exit status of the command line.
        hint: The remedy, one or two sentences.
    """

    code = "internal"
    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(M3ambaError):
    """Options or configuration that can't be followed."""

    code = "usage"
    exit_status = 2


class DataError(M3ambaError):
    """Something is wrong with a file or what it holds."""

    code = "data"
    exit_status = 3


class FileMissingError(DataError):
    """A file that was named is not there."""

    code = "file-missing"


class NetworkOffError(DataError):
    """An input lies on a network, and nobody has allowed that."""

    code = "network-off"


class RasterUnreadableError(DataError):
    """A raster can't be opened, or its pixels can't be read."""

    code = "raster-unreadable"


class VectorUnreadableError(DataError):
    """A label file or one of its layers can't be read."""

    code = "vector-unreadable"


class CRSMissingError(DataError):
    """A CRS is needed and missing."""

    code = "crs-missing"


class NoOverlapError(DataError):
    """Rasters, labels or a map do not overlap."""

    code = "no-overlap"


class GridsDifferError(DataError):
    """Scenes do not fit into one raster."""

    code = "grids-differ"


class AllNodataError(DataError):
    """There is no valid pixel where one is needed."""

    code = "all-nodata"


class UnknownFieldError(DataError):
    """The class field is missing, or can't be told without help."""

    code = "field-unknown"


class NoLabelsError(DataError):
    """No labelled pixel is left to work with."""

    code = "no-labels"


class TooFewClassesError(DataError):
    """Training needs two classes with pixels or more."""

    code = "too-few-classes"


class ClassMismatchError(DataError):
    """Classes of labels, map or model do not fit together."""

    code = "classes-mismatch"


class BandMismatchError(DataError):
    """The bands given are not the bands that the model was trained on."""

    code = "bands-mismatch"


class ModalityMissingError(BandMismatchError):
    """A modality is missing, and the model can't do without."""

    code = "modality-missing"


class NotAModelError(DataError):
    """The file is not one of our model files."""

    code = "not-a-model"


class ModelDamagedError(DataError):
    """The model file is ours, but truncated, altered or of a newer format."""

    code = "model-damaged"


class BenchmarkUnclearError(DataError):
    """The files of a folder are not clearly those of the benchmark."""

    code = "benchmark-unclear"


class TrainOverlapError(DataError):
    """Accuracy would be taken on training pixels, or it is unknown which those are."""

    code = "train-overlap"


class SampleError(DataError):
    """Labels can't speak for a whole map: they are no sample of it, or too few."""

    code = "sample-unfit"


class CheckpointError(DataError):
    """Training can't be resumed from what is there."""

    code = "checkpoint"


class JournalError(DataError):
    """An unfinished map belongs to another command, or is damaged."""

    code = "journal"


class MachineError(M3ambaError):
    """Something is wrong with the machine or what is installed on it."""

    code = "environment"
    exit_status = 3


class OutputError(MachineError):
    """An output can't be written."""

    code = "output"


class OutputFolderError(OutputError):
    """The folder of an output is missing, or not writable."""

    code = "output-folder"


class OutputExistsError(OutputError):
    """An output exists already."""

    code = "output-exists"


class OutputBusyError(OutputError):
    """Another run is writing the same output."""

    code = "output-busy"


class DiskFullError(OutputError):
    """The disk is full, or will be."""

    code = "disk-full"


class ExtraMissingError(MachineError):
    """Packages of an extra are needed and not installed."""

    code = "extra-missing"


class ClusterError(MachineError):
    """The processes of a cluster can't work together."""

    code = "cluster"


class WorkerLostError(ClusterError):
    """Workers end again and again, or none is left."""

    code = "worker-lost"


class DeviceUnavailableError(MachineError):
    """A device was asked for that is not there."""

    code = "device-unavailable"


class ScanUnavailableError(MachineError):
    """A scan backend was asked for that does not run here."""

    code = "scan-unavailable"


class WeightsUnavailableError(MachineError):
    """The weights of the image encoder can't be had, or do not fit."""

    code = "weights-unavailable"


class OutOfMemoryError(MachineError):
    """Memory ran out."""

    code = "out-of-memory"


class ProcessLostError(MachineError):
    """Another process of the same job has ended without a word, or can't be reached."""

    code = "process-lost"


class CancelledError(M3ambaError):
    """The user stopped the job."""

    code = "cancelled"
    exit_status = 130


class RelayedError(M3ambaError):
    """What ended another process of the same job, with its code and exit status."""

    def __init__(self, code: str, exit_status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.code = code
        self.exit_status = exit_status


_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")  # torch's words
_MEMORY_HINT = "Lower --batch, --memory or --size, or use a machine with more memory."
_CANCEL_HINT = (
    "Nothing half-written is left. A map goes on from its finished blocks when the same command is "
    "given again, a training that has saved its state with --resume."
)


def explain(error: BaseException, *, cancelled: bool = False) -> M3ambaError:
    """Returns any exception as one of ours.

    Args:
        error: What ended the job.
        cancelled: Whether the user asked for the end: whatever comes up after that, often an odd
            error from a library torn out of its work, is the consequence.
    """
    if isinstance(error, RelayedError):  # the end of one process has others stopped by a signal
        return error
    if isinstance(error, KeyboardInterrupt | CancelledError) or cancelled:
        return CancelledError("Cancelled.", getattr(error, "hint", "") or _CANCEL_HINT)
    if isinstance(error, M3ambaError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f" while writing {error.filename}" if error.filename else ""
        return DiskFullError(f"The disk is full{where}.", "Free some space, or write elsewhere.")
    if _is_memory(error):
        return OutOfMemoryError(f"Memory ran out: {first_line(error)}", _MEMORY_HINT)
    return M3ambaError(
        f"Unexpected {type(error).__name__}: {first_line(error)}",
        "This is a defect of m3amba-geo: please report it with the traceback on standard error.",
    )


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says so in several ways, and must not be imported to ask."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _NO_MEMORY)


def first_line(error: BaseException) -> str:
    """Returns the first line of what a library has to say."""
    return (str(error).strip() or "no message").splitlines()[0]
