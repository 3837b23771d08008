"""Decide from facts and knowledge which cards fire and which are shown."""
