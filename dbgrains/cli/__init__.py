"""The `dbgrains` command."""
