"""What each command does: one module a command, with ``run(config, context) -> Run``."""
