"""How fast the kernels are, paired with plain implementations."""
