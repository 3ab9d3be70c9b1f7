"""`python -m dbgrains.codegen`."""

from __future__ import annotations

import sys

from dbgrains.codegen.command import main

if __name__ == "__main__":
    sys.exit(main())
