"""Decide the log's records again: with the cards of their time, to verify them; with other cards, to see what those would do."""
