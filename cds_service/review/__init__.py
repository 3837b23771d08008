"""Serve the pages on which a quality team reads the alert log and judges cases.

They only read the log. Roll-ups and verdicts are in a database of their own.
"""
