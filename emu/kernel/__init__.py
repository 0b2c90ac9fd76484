"""The Linux kernel's network, one namespace at a time. Files have the kernel's names where it has one. Must not know Kubernetes."""
