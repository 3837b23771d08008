"""Explain each card of a response, criterion by criterion, in English."""
