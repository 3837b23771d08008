"""Make a log as months of service leave it, from calls of made-up patients that the real engine answers."""
