"""Playing episodes: with an expert or with a policy, many at once."""
