"""THE WINDOWS: the webhook's endpoint, the pages and their JSON, the live log, sign-in.

It asks `deploy` to act and `journal` to read, and starts nothing itself.
"""
