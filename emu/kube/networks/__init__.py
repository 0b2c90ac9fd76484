"""The pod networks that come along."""
