"""What Linux does, one namespace at a time. A file bears the kernel's name where one exists."""
