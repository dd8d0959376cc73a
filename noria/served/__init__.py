"""The table of what was served: labelled samples in Parquet files, one folder per day.

``table`` has its files, ``rows`` what counts at a moment, ``remote`` the table of a monitor on
another machine, ``summary`` what a person is told of it, ``used`` what a version says of it.
"""
