"""Decode a CDS Hooks request strictly, and say how a request is refused."""
