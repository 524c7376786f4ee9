"""``dingbridge ingress``."""

import gc

import uvloop

from dingbridge.ingress.app import Ingress
from dingbridge.logging import configure_logging
from dingbridge.settings import IngressSettings


def command() -> None:
    """Receive DingTalk's callbacks, keep them, answer `success`, and publish them to Kafka.

    All settings come from the environment (docs/reference/settings.md). Ends at SIGTERM or Ctrl-C, with every
    accepted callback answered. Exit code 2: settings; 1: the journal or an address cannot be used, or a part
    of the ingress has ended: start it again.
    """
    settings = IngressSettings.load()
    configure_logging(settings)
    ingress = Ingress(settings)
    gc.freeze()  # what is loaded by now stays; collecting it again and again would delay answers
    gc.set_threshold(50_000)
    uvloop.run(ingress.run())
