"""``make bench-capture``: what it costs to count a packet, here and with the usual tools.

::

    namespace of the generator            namespace of the tool
    trafgen | paced  ──> gen0 ══ veth ══ tap0 <── nothing | tcpdump | pmacctd | softflowd | probe
          CPU 0, with the softirq of tap0        the other CPUs

``lab`` makes the namespaces and starts programs in them, ``traffic`` and
``paced`` send, ``peers`` and ``engines`` are the tools, ``cpu`` reads clocks,
``measure`` does one run and a whole series, ``results`` is what is kept,
``report`` and ``plot`` show it.
"""
