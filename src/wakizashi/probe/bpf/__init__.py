"""eBPF: the program in C, its compiled object, how the object is read, and how the kernel is asked."""
