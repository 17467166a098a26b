"""THE BENCH: one location, brought to a commit without harm.

`plan` says which one step a checkout needs, `update` takes it, and what is in
the way or was cut off has a module each. Nothing here knows of a queue, a
deploy or the archive.
"""
