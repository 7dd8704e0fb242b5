"""Known holes in what is installed here, by pip-audit; where its advisory service cannot be reached, that is said.

python scripts/audit.py      exit code 0: none known; 1: some are; 2: it could not be asked, and nothing is known
"""

from __future__ import annotations

import subprocess
import sys

UNREACHED = (
    "ConnectionError",
    "Max retries",
    "Failed to resolve",
    "ServiceError",
    "timed out",
    "SSLError",
    "ProxyError",
)


def main() -> int:
    """Ask, and say what came of it."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--timeout", "20"]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, end="")
    unasked = done.stdout.count("could not be audited")
    if unasked or (not done.stdout.strip() and done.returncode) or any(words in done.stderr for words in UNREACHED):
        why = f"of {unasked} packages it knows nothing" if unasked else last_line(done.stderr)
        print(f"the advisory service could not be asked of all ({why}): nothing is known of them", file=sys.stderr)
        return 2
    if done.returncode:
        print(done.stderr, end="", file=sys.stderr)
        return 1
    print("no known holes in what is installed")
    return 0


def last_line(text: str) -> str:
    """The last line of what a program said."""
    return (text.strip().splitlines() or ["no message"])[-1][:200]


if __name__ == "__main__":
    sys.exit(main())
