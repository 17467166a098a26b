"""THE ARCHIVE: what was accepted, what ran, what it printed.

What is committed here has happened; everything else is a plan. Deliveries,
deploys and steps are rows of one SQLite database, the output of each deploy is
one file beside it, and whoever watches hears of a change only after it is on
disk.
"""
