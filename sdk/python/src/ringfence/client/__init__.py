"""Ringfence for host applications in Python: install, consent to, call, watch and revoke plugins through a daemon.

    from ringfence.client import Host

    with Host.start() as host:
        host.install("plugins/greeter", grant=[])
        host.activate("greeter")
        print(host.call("greeter", "greet", {"name": "Ada"}))

Start reading at `Host`; `errors` has what is raised, `types` what is answered. Needs nothing but Python 3.9.
"""

from ._host import Host, Versioned
from ._run import Output, Run
from ._stream import Event, EventStream
from .errors import (Busy, Cancelled, Conflict, LimitBroken, NotFound, PluginFailed, Refused, RingfenceError, Unavailable,
                     Usage)

__all__ = ["Busy", "Cancelled", "Conflict", "Event", "EventStream", "Host", "LimitBroken", "NotFound", "Output", "PluginFailed",
           "Refused", "RingfenceError", "Run", "Unavailable", "Usage", "Versioned"]
