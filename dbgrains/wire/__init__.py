"""What members say to each other: generated from `protos/` by `make protos`; never edited."""
