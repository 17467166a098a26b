"""Children: how one is started, bounded and ended, with all that it has started itself."""
