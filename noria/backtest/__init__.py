"""History through the loop: real fits, the real decisions, on the clock of the events."""
