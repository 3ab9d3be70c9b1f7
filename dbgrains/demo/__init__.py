"""The application behind `dbgrains demo` and `compose.yaml`."""
