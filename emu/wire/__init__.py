"""Bytes: addresses, checksums, header fields, and the live frame. Must not know devices, time or the kernel."""
