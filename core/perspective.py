"""Where we look from: the CA/B Forum's word."""

LOCAL = "local"
"""The only perspective there is for now: the machine that KeyChest runs on."""
