"""Every detector on every set of annotated dialogues: see `benchmarks/rephrase_table.py`, which this starts.

    python benchmarks/rephrase_detection.py [DATA] --out FOLDER [--only SETS] [--detectors NAMES] [--quick]

This file has the name of a package, which it would hide from every program beside it: imported, it is that package.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

if __name__ == "__main__":
    from rephrase_table import main

    main()
else:
    here = Path(__file__).parent
    spec = PathFinder.find_spec(__name__, [each for each in sys.path if Path(each or ".").resolve() != here.resolve()])
    if spec is None or spec.loader is None:
        raise ImportError("the package rephrase_detection is not installed: pip install -e .")
    sys.modules[__name__] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[__name__])
