"""How a pipeline runs: `serial` is the definition, `process` the fast one, tested equal to it."""
