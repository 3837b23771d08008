"""Delete what is older than the site keeps it, except what a legal hold keeps, and say when a key of the hashes can go."""
