"""Load the cards, and what a site lays over them, checked and compiled at start."""
