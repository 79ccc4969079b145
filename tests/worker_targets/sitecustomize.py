"""On PYTHONPATH, this makes the modules beside it importable as edgeattn's, so that a worker can run them."""

from pathlib import Path

import edgeattn

edgeattn.__path__.append(str(Path(__file__).parent / "edgeattn_extra"))
