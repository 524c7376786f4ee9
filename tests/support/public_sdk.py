"""The public DingTalk SDK as it is, in a process of its own, since its package has the name of ours.

Run by its path, isolated (``python -I``): the SDK's folder, a corp id and a simulator's address are given.
Reads one call a line as JSON, ``{"call": "role.list", "args": {…}}``, and answers with a line: ``result``, or
the ``errcode`` and ``errmsg`` of the SDK's exception. All the hosts that the SDK knows are the simulator, by
an adapter of its HTTP library; nothing of the SDK is changed.
"""

import json
import logging
import sys
from urllib.parse import urlsplit, urlunsplit

folder, base, corp_id, app_key, app_secret, token, aes_key = sys.argv[1:]
sys.path.insert(0, folder)

import requests  # noqa: E402
from dingtalk.client import AppKeyClient, BaseClient  # type: ignore[attr-defined]  # noqa: E402
from dingtalk.core.exceptions import DingTalkException  # type: ignore[import-not-found]  # noqa: E402


class ToSimulator(requests.adapters.HTTPAdapter):
    """Sends every request to the simulator, whatever its host."""

    def send(self, request, **options):  # type: ignore[no-untyped-def]
        scheme, host, *_ = urlsplit(base)
        _, _, path, query, _ = urlsplit(request.url)
        request.url = urlunsplit((scheme, host, path, query, ""))
        return super().send(request, **options)


def main() -> None:
    logging.disable(logging.CRITICAL)  # it logs requests with their tokens
    BaseClient._http.mount("https://", ToSimulator())
    BaseClient._http.trust_env = False  # no proxy between here and the simulator
    client = AppKeyClient(corp_id, app_key, app_secret, token, aes_key, timeout=30)
    for line in sys.stdin:
        wanted = json.loads(line)
        function = client
        for name in wanted["call"].split("."):
            function = getattr(function, name)
        try:
            answer = {"result": function(**wanted["args"])}
        except DingTalkException as error:
            answer = {"errcode": error.errcode, "errmsg": error.errmsg}
        print(json.dumps(answer), flush=True)


main()
