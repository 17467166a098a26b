"""THE MAP: the JSON on the branch `integralgit` and this host's names become its `Deployment`s.

Pure: no I/O, no Twisted. `resolve` keeps the layer that each value came from,
so that the pages can show why a host does what it does.
"""
