"""Decide who may look: readers and their roles, sign-in, sessions, and the audit of what they opened."""
