"""The classroom: walkthroughs, exercises, the checks of their answers, and the checks of those checks.

The lessons themselves lie in `lessons/` of a checkout.  An answer runs in a process of its own that is
given inputs and gives back outputs; what is right is decided in ours, which never imports it.
"""
