"""`python -m edgeattn`."""

from __future__ import annotations

from edgeattn.cli.main import main

if __name__ == "__main__":
    main()
