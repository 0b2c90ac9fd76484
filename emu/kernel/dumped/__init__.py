"""What the commands of a real machine printed, as values of the kernel. Must not know machines."""
