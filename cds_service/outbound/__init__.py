"""Send HTTP requests to checked addresses, and to nothing else."""
