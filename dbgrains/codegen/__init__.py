"""Grains from .proto files: a protoc plugin, a command around it, and a hook for hatch.

`model` reads what protoc says of a file and refuses what cannot become grains, `render` writes the module, `plugin` is
`protoc-gen-dbgrains`, `command` is `python -m dbgrains.codegen`, `build_hook` runs that in a user's build. None of it
imports the runtime: what it writes does.
"""
