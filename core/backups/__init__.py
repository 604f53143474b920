"""Backups that are proven: taken, sealed, stored, restored and compared. Orchestrates well-kept engines; writes only what they lack.

A backup is a claim until it has been restored and compared with what was live. Trusted: the live database, and the offline recovery
key. Not trusted: targets (their thief reads ciphertext and public counts, and can withhold or destroy), nor a backup's own manifest
where the live database still has one of its own.
"""
