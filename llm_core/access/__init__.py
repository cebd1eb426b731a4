"""Who gets in, how often and how much, and what is said to who does not: for all that is on the port."""
