"""For tests, yours and ours: an embedded Redis server, clusters in one process, conformance suites."""
