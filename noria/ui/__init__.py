"""``noria ui``: a small web page over the loop's state, on one machine and on a cluster.

Pages are made on the server and work without JavaScript. Nothing is imported here:
whoever uses a part imports its module.
"""
