"""Grains and members: how a request finds its activation.

Start with `request` (what happens when a grain is called), then `activator` (where it gets started) and
`interfaces` (what providers and lookups are, and what they may use).
"""
