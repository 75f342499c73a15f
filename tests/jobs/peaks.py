"""Evaluates maps one after the other and says what Linux notes as the peak after each.

`python peaks.py MAP LABELS HTML ...`, three arguments for each map; prints MiB, one line each.
"""

import resource
import sys
from pathlib import Path

from m3amba_geo.config import EvaluateConfig, LabelConfig
from m3amba_geo.events import ignore
from m3amba_geo.jobs import evaluate

names = [Path(name) for name in sys.argv[1:]]
for path, labels, html in zip(names[::3], names[1::3], names[2::3], strict=True):
    evaluate.run(path, EvaluateConfig(LabelConfig(labels), html=html), ignore)
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}\n")
