"""``wakizashi doctor``: would the daemons work on this host, and why not?

``finding`` says what a check may find. ``environment``, ``kernel``, ``offloads``, ``memory``,
``clock``, ``directory``, ``secrets``, ``listening``, ``contact`` (with ``way``) and ``storing``
look at one thing each, and what of them judges is pure. ``subjects`` loads the configurations,
``probe`` and ``center`` list what is looked at for either, ``examination`` looks at all of it
under one deadline, ``report`` prints. It may run beside the daemons at any time: it takes no
lock, and leaves nothing behind.
"""
