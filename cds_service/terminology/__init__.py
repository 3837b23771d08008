"""Look up what codes, names and texts mean: results, units, drugs, problems."""
