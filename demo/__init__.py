"""The demonstration: a made-up world of names, certificates and servers on this machine, and its made-up past.

The forge here (`demo/forge.py`, `demo/pki.py`) is also what tests make their chains with.
"""
