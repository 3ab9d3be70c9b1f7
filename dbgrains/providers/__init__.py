"""Choose one: how members find each other."""
