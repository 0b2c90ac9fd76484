"""Captures: taps on interfaces, a frame's trail as text, and capture files.

Knows frames and trails; must not know scenarios, reports or who uses a capture.
"""
