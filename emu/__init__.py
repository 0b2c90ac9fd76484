"""emu: a Kubernetes cluster network that fits in one Python process."""
