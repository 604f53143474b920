"""The recorder: what runs on a host of production as root, and tells the portal who was there. docs/access.md.

All but `installing` is copied to the host and runs there with Python 3.9 or newer, its standard library, and ssh-keygen. Nothing of ours
is imported but each other.
"""
