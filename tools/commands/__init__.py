"""The commands of ``kinestream``, one file each. Heavy imports wait until a command runs."""
