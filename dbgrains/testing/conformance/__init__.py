"""Suites that a storage, a lookup or a provider must pass; bind one by subclassing and giving a fixture."""
