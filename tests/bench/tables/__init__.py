"""Eight tables with a target, by default settings against other learners: ``make bench-tables``."""
