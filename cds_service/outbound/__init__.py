"""Send HTTP requests, only to checked addresses."""
