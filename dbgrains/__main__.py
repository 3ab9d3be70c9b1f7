"""python -m dbgrains: the same as the command `dbgrains`."""

from __future__ import annotations

from dbgrains.cli import main

if __name__ == "__main__":
    main()
