"""THE DOOR: bytes from the network become a verified, typed `Delivery`, or a `Rejected`.

Pure: no I/O, no Twisted. `receive` is the one way in; each git host is one
small module with a `Provider`.
"""
