"""The demonstration: a made-up world of names, certificates and servers on this machine, and its made-up past.

The forge here (`demo/forge.py`, `demo/pki.py`) is also what tests make their chains with.
"""

MARK = "demo.json"
"""The file by which a data folder is known as a demonstration's, and what stands in it: see demo/stage.py."""
