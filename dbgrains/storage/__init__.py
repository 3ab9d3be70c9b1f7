"""Choose one: a database for `DbIdentityLookup`. `redis` is the real one, `memory` is for one process."""
