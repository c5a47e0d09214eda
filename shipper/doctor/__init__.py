"""`shipper doctor`: whether all that shipper depends on does its part, here and now.

It decides what is well, what is worth a look and what is broken, and says how to fix it. It must
never change anything, never end in a traceback, and never wait for long: whatever can't be reached
is a finding like any other. Nothing is imported here: who only asks for a unit pays for no more.
"""
