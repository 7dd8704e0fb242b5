"""Freeze the fingerprints of kinds that have none yet: `.venv/bin/python tests/golden/update.py [--moved KIND ...]`.

A fingerprint that moved orphans every artefact made before. `--moved KIND` accepts that for a kind, on purpose.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from example_specs import GOLDEN, ours, specimen

from spillover.spec import encode


def main() -> None:
    """Write what is new; say what it is."""
    frozen = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    moved = set(sys.argv[2:]) if sys.argv[1:2] == ["--moved"] else set()
    kinds = ours()
    for name in sorted(set(frozen) - set(kinds)):
        if name in moved:
            del frozen[name]
            print(f"{name}: gone")
    for name, cls in kinds.items():
        if name not in frozen or name in moved:
            try:
                spec = specimen(cls)
            except ValueError as error:
                print(f"{name}: not frozen, tests/example_specs.py cannot build one ({error})")
                continue
            frozen[name] = {"fingerprint": spec.fingerprint, "spec": encode(spec)}
            print(f"{name}: {spec.fingerprint}")
    GOLDEN.write_text(json.dumps(frozen, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
