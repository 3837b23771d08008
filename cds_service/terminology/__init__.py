"""Look up what codes, names and texts mean: results, drugs, problems."""
