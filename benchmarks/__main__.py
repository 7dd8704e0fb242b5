"""`python -m benchmarks [NAME ...]`: runs the benchmarks named, or all, and prints a CSV line for each comparison."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import pkgutil
import sys

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "SPILLOVER_THREADS")
MACHINERY = ("comparison",)


def names() -> list[str]:
    """Every benchmark: a file of this folder with a `comparisons` function."""
    package = importlib.import_module("benchmarks")
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(name for name in modules if not name.startswith("_") and name not in MACHINERY)


def main(words: list[str] | None = None) -> int:
    """Exit code 0; 1 where results were unequal or a benchmark could not run; 2 for a name that none has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Side by side against peers.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names())}; none: all")
    parser.add_argument("--only", default="", help="comparisons whose name holds this")
    parser.add_argument("--rounds", type=int, default=None, help="alternating runs of each side; the benchmark's own")
    parser.add_argument("--threads", type=int, default=1, help="of the arithmetic libraries, both sides alike")
    given = parser.parse_args(words)
    unknown = [name for name in given.names if name not in names()]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names(), n=1)
        print(f"no benchmark {unknown[0]!r}; {f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(names())}")
        return 2
    for name in THREADS:  # before numpy is there; the last for torch, where a model is loaded
        os.environ[name] = str(given.threads)
    from benchmarks.comparison import HEADER, run

    print(HEADER, flush=True)
    failed = False
    for name in given.names or names():
        module = importlib.import_module(f"benchmarks.{name}")
        try:
            for comparison in module.comparisons():
                if given.only in comparison.name:
                    run(comparison, given.rounds)
        except (AssertionError, ImportError) as error:
            print(f"# {name}: {type(error).__name__}: {error}", flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
