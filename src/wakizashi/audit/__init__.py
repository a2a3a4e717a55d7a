"""``wakizashi audit``: does what is stored add up?

Values in, findings out: ``windows`` (numbers and times), ``accounts`` (ledgers
and traffic), ``shared`` (devices that count the same packets), ``pairs`` (two
probes that see the same traffic) and ``findings`` are pure; ``analysis`` puts
them together, ``report`` prints, ``reading`` alone reads a backend.
"""
