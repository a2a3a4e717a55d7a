"""``wakizashi dashboard``: what is stored, on a page in the browser.

Of a request ``parameters`` makes a question. ``answers`` puts it to the center's backend, and to
``names`` for what addresses are called; ``river``, ``span`` and ``fleet`` lay out what came back, on
buckets of time that ``steps`` chooses. ``flights`` lets equal questions share an answer. ``app`` is the
routes, ``guarding`` who may ask and what a browser may do with it, ``static`` the page's files, and
``run`` the process. Reads only.
"""
