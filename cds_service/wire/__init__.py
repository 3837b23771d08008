"""Decode a CDS Hooks request strictly, and define the errors that refuse one."""
