"""Bytes: addresses, checksums, header fields, and the live frame. Knows no device, no time, no kernel."""
