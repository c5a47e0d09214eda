"""`shipper doctor`: whether everything that shipper depends on works, here and now.

The checks decide what is well, what deserves a look and what is broken, and say how to fix it. A
check must never change anything, never end in a traceback, and never wait for long: a part that
can't be reached is a result like any other. This file imports nothing, so that a command which
needs only the unit stays quick.
"""
