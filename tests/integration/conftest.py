"""Imported before the tests: grpc reads how much it may print when it is imported, and the package says: little."""

from __future__ import annotations

import dbgrains.remote.grpc_transport  # noqa: F401
