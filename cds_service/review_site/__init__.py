"""Make the pages on which a clinician reviews the cards.

They are static HTML from the cards' data, self-contained and without scripts.
"""
