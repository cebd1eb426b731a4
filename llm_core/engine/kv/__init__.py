"""What is computed already, and where it is: slots, host memory, disk; one index over all three."""
