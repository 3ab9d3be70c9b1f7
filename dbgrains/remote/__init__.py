"""Other processes: one ordered stream per pair of members, and everything that rides on it.

Start with `remote` (what the rest of the package uses), then `endpoint` (one peer) and `transport` (what a
link must be able to do).
"""
