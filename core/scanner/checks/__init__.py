"""Every rule by which a scan is judged, in the order in which findings are shown.

A new rule is a new file here, named after its ID, one line in CHECKS, and a new RULESET.
"""

from __future__ import annotations

from core.scanner.checks import (
    cert_bc,
    cert_chain_incomplete,
    cert_chain_order,
    cert_differ,
    cert_eku,
    cert_expired,
    cert_expiring,
    cert_key_ec,
    cert_key_other,
    cert_key_rsa,
    cert_ku,
    cert_malformed,
    cert_name,
    cert_nosan,
    cert_notyet,
    cert_pair,
    cert_self_signed,
    cert_sig_md5,
    cert_sig_sha1,
    cert_untrusted,
    cert_validity,
)
from core.scanner.subject import Check

RULESET = "2026-11.3"
"""Stored with every verdict: a pass is this version and a time. Changed whenever a rule or a text is."""

CHECKS: tuple[Check, ...] = (
    cert_expired,
    cert_notyet,
    cert_expiring,
    cert_name,
    cert_nosan,
    cert_self_signed,
    cert_untrusted,
    cert_chain_incomplete,
    cert_chain_order,
    cert_sig_md5,
    cert_sig_sha1,
    cert_key_rsa,
    cert_key_ec,
    cert_key_other,
    cert_validity,
    cert_eku,
    cert_bc,
    cert_ku,
    cert_differ,
    cert_pair,
    cert_malformed,
)
