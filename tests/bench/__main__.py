"""Every benchmark that can run here, one after the other; says of the others what they need.

A benchmark is a module of this package with `main(arguments) -> int`. One that needs no cluster says so with
`NEEDS_CLUSTER = False`; all others are run only where the project's cluster is.
"""

import argparse
import importlib
import pkgutil
import sys
from types import ModuleType

from pact_cluster import Workspace, find_cluster
from tests import bench


def benches() -> list[ModuleType]:
    """The benchmarks of this package, by name."""
    modules = (importlib.import_module(f"{bench.__name__}.{found.name}") for found in _public())
    return [module for module in modules if callable(getattr(module, "main", None))]


def _public() -> list[pkgutil.ModuleInfo]:
    found = pkgutil.iter_modules(bench.__path__)
    return sorted((one for one in found if not one.name.startswith("_")), key=lambda one: one.name)


def main() -> int:
    """Runs them.

    Returns:
        The exit code: the worst of all that ran.
    """
    argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__).parse_args()
    cluster = find_cluster(Workspace.find())
    worst = 0
    for module in benches():
        name = module.__name__.rsplit(".", 1)[-1]
        if cluster is None and getattr(module, "NEEDS_CLUSTER", True):
            print(f"{name}: not run, it needs the demo's cluster; run `make demo` first.", file=sys.stderr)
            continue
        print(f"{name}:", file=sys.stderr)
        worst = max(worst, module.main([]))
    return worst


if __name__ == "__main__":
    sys.exit(main())
