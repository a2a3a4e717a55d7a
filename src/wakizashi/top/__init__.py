"""``wakizashi top``: who talks to whom on this host now, live in the terminal, without a center.

``capturing`` closes a small window at each interval with what the probe captures with; ``traffic``
remembers those: rates, totals, sparklines of pairs. ``view`` is what the user chose and what each key
does to that, ``order`` which pairs are shown and in what order, ``screen`` (with ``columns`` and
``text``) lays them out as lines. ``terminal`` draws lines and reads keys, ``printing`` is
for pipes. ``run`` starts it all. Only ``capturing``, ``terminal`` and ``run`` do anything but compute.
"""
