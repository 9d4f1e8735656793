"""How fast networks are, against each other, on this machine, in one run.

Machines are noisy: other programs, the clock's frequency and the heat change
within minutes. So contenders are timed in turn, round by round, and what is
compared is their ratio within a round. ``tools/benchmark.py`` is the command
line; the parts:

* :mod:`worker`, :mod:`rounds`, :mod:`statistics`: any contenders, in turn
* :mod:`machine`, :mod:`rate`: the machine, and how fast it could be
* :mod:`networks`, :mod:`inference`, :mod:`training`, :mod:`loading`,
  :mod:`end_to_end`: what can be timed
* :mod:`record`, :mod:`table`: the results, for programs and for readers
"""
