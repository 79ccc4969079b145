"""On PYTHONPATH, this makes the modules beside it importable as edgeattn's, and so targets of a worker."""

from pathlib import Path

import edgeattn

edgeattn.__path__.append(str(Path(__file__).parent / "edgeattn_extra"))
