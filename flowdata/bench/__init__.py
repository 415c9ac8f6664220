"""How fast a pipeline is, against whom, what limits it and what would help: ``flowdata bench``."""
