"""Known anomalies in data that the project does not depend on, and false alarms."""
