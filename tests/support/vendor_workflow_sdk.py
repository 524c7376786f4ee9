"""The vendor's own Python SDK (alibabacloud-dingtalk, workflow_1_0) as it is, in a process of its own.

Run by its path, isolated (``python -I``): the SDK's folder, a simulator's host and port, and an access token
are given. Reads one call a line as JSON, ``{"call": "get_process_instance", "request": {…}}`` with DingTalk's
names of parameters, and answers with a line: ``result``, what the SDK's model of the answer holds, or the
``code`` of its exception. Nothing of the SDK is changed but the address it is configured with.
"""

import json
import sys

folder, endpoint, token = sys.argv[1:]
sys.path.insert(0, folder)

from alibabacloud_dingtalk.workflow_1_0 import models  # type: ignore[import-not-found]  # noqa: E402
from alibabacloud_dingtalk.workflow_1_0.client import Client  # type: ignore[import-not-found]  # noqa: E402
from alibabacloud_tea_openapi.models import Config  # type: ignore[import-not-found]  # noqa: E402
from alibabacloud_tea_util.models import RuntimeOptions  # type: ignore[import-not-found]  # noqa: E402
from Tea.exceptions import TeaException  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    client = Client(Config(protocol="http", endpoint=endpoint))
    for line in sys.stdin:
        wanted = json.loads(line)
        name = "".join(word.capitalize() for word in wanted["call"].split("_"))
        request = getattr(models, f"{name}Request")().from_map(wanted["request"])
        headers = getattr(models, f"{name}Headers")(x_acs_dingtalk_access_token=token)
        try:
            call = getattr(client, f"{wanted['call']}_with_options")
            answer = {"result": call(request, headers, RuntimeOptions()).body.to_map()}
        except TeaException as error:
            answer = {"code": error.code, "message": error.message}
        print(json.dumps(answer), flush=True)


main()
