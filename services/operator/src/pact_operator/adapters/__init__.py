"""The outside, made to fit the ports. Adapters do not know each other; errors are converted here and nowhere else."""
