"""Explain each card of an answer, criterion by criterion, in English."""
