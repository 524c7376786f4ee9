"""Events by DingTalk's Stream mode: WebSockets that the ingress opens, into the same journal as HTTP's."""
