"""Looks for known vulnerabilities of the packages in this environment, with pip-audit.

Ends with 1 where some are found. Where the service that knows them does not answer, that is said,
and no failure: a machine without a network can't help it.
"""

import json
import subprocess
import sys

COMMAND = ("-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable")
SECONDS = 300


def findings(report: str) -> list[str]:
    """Returns a line for each vulnerability in pip-audit's report.

    Raises:
        ValueError: It is no report: pip-audit has failed.
    """
    return [
        f"{package['name']} {package['version']}: {found['id']}, mended in "
        f"{', '.join(found['fix_versions']) or 'no version yet'}"
        for package in json.loads(report)["dependencies"]
        for found in package.get("vulns", [])
    ]


def main() -> int:
    """Prints what is known and returns the exit status."""
    try:
        done = subprocess.run(
            [sys.executable, *COMMAND], capture_output=True, text=True, timeout=SECONDS
        )
        lines = findings(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        sys.stdout.write("Passed over the audit of dependencies: the service does not answer.\n")
        return 0
    sys.stdout.write("\n".join([*lines, f"{len(lines)} known vulnerabilities.\n"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
