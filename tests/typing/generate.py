"""Generate the grains of `protos/` into `generated/`, where both type checkers and reviewers read them.

    python -m tests.typing.generate

Of the messages only the stubs are kept: nothing here is run, and their code belongs to one version of protobuf.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dbgrains.codegen.command import Job, generate

HERE = Path(__file__).parent
PROTOS = HERE / "protos"


def generated() -> dict[Path, str]:
    """File -> text of everything that is kept."""
    job = Job(
        files=[PROTOS / "counter_grain.proto", PROTOS / "shop" / "market.proto"],
        proto_paths=[PROTOS],
        out=HERE / "generated",
        imports="relative",
    )
    return {path: text for path, text in generate(job).items() if not path.name.endswith("_pb2.py")}


def main() -> int:
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
