"""dbgrains: virtual actors for Python, with one live activation per identity."""
