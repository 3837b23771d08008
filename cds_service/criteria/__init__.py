"""Define the facts about a patient and the kinds of criteria that evaluate them."""
