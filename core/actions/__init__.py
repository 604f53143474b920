"""Every change of state: permission first, then the change, and the audit event last, in the same transaction."""
