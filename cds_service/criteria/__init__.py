"""Facts about a patient, and the kinds of criteria that are found in them."""
