"""THE MAIL ROOM: what others are told, and all outgoing HTTP.

What is to be told is written to the outbox in the same transaction as the
event that it tells of. Each receiver has its queue, which is told in order,
one thing at a time. Nothing here ever delays a deploy or makes one fail.
"""
