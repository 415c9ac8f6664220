"""Where records come from, and in which order."""
