"""The fault campaign: known traffic, two probes, two centers, faults from a seed, and an oracle.

    host a (probe) ══ traf0 ══ host b (probe)        known packets, both ways
          │                        │
          └── mgmt0 ── bridge ─────┘                 what the probes send to the center
                     │  hub: haproxy, InfluxDB
             center 1, 2 and a spare one, each in its own namespace

A run is made from a seed: :mod:`.schedule` says which faults strike when, and
:mod:`.packets` which packets are sent. :mod:`.run` lets it happen, then heals
everything, lets it drain, and :mod:`.oracle` compares, to the byte, what is stored
with what was sent. ``python -m tests.fault.campaign --help`` runs many.
"""
