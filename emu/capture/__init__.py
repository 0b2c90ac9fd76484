"""What people see of the walks: taps on interfaces, the words of a frame's trail, and capture files.

Knows frames and trails; must not know scenarios, reports or who asked for a capture.
"""
