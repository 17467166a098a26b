"""Real git, real processes, real sockets, a real browser."""
