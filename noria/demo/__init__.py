"""The demo: a year of real flights through the whole loop, shown live and as one HTML page."""
