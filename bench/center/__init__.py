"""``make bench-center``: what it costs to store a record, from the wire to each database.

::

    first CPU                              the other CPUs
    center, as operators start it  <──gRPC── fleet: 1, 100, 10,000 probes, a connection each
      │ nothing | lines | influxdb | sqlite | redis
      └──────────────────────────────HTTP──> influxd | victoria-metrics | redis-server
    direct: the same points as lines ──HTTP──> influxd | victoria-metrics

``windows`` makes what is sent, ``fleet`` is the probes, ``null_center`` the
center without a database, ``servers`` the databases, ``direct`` the bare HTTP
client, ``process`` starts programs and reads their clocks, ``measure`` does one
run and a whole series, ``results`` is what is kept, ``report`` and ``plot`` show
it; ``bench/simulate.py`` reckons with it.
"""
