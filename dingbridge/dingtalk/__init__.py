"""DingTalk's side of the bridge: what it signs and encrypts, and the Open API that it offers.

- ``crypto``: callbacks as bytes and values, no I/O; ``self_push``: a push of our own, to try a URL
- ``api``: the Open API client; under it ``token`` (kept and renewed), ``transport`` (one call over HTTP),
  ``pace`` (how fast they follow each other), ``replies``, ``error_codes``, ``error_meanings`` and
  ``permissions`` (what an answer means), ``budget`` (what a call is for, and who may stop it)
- ``errors``: the tree of errors

Imports nothing of this project but ``dingbridge.errors``.
"""
