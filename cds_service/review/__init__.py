"""Show the quality team what the alert log holds, and keep its verdicts."""
