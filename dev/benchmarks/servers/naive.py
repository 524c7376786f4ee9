"""The bridge that a competent colleague would write first: verify, normalise, wait for Kafka, answer.

Our functions for crypto and records, a cipher object for each message as in DingTalk's sample, an idempotent
producer, one ``send_and_wait`` for each record. It keeps nothing: while Kafka is away it answers errors, and
what it holds when it is killed is gone.
``python -m dev.benchmarks.servers.naive PORT``, settings as for the ingress.
"""

import asyncio
import sys
import time

import orjson
import uvloop
from aiohttp import web
from aiokafka.errors import KafkaError

from dingbridge.dingtalk.crypto import Credentials, SignatureParameters, decrypt, encrypt, sign
from dingbridge.dingtalk.errors import CallbackError
from dingbridge.events import Received, to_records
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import event_topic, unclassified_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import IngressSettings


class Naive:
    def __init__(self, settings: IngressSettings) -> None:
        self.settings = settings
        self.credentials = Credentials(
            settings.dingtalk_token.get_secret_value(),
            settings.dingtalk_aes_key.get_secret_value(),
            tuple(settings.dingtalk_owner_key),
        )
        self.producer = producer(settings, linger_ms=1)
        self.seq = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        ours = self.credentials
        try:
            encrypted = orjson.loads(await request.read())["encrypt"]
            signed = SignatureParameters.from_query(request.query)
            if sign(ours.token, signed.timestamp, signed.nonce, encrypted) != signed.signature:
                return web.Response(status=403)
            plaintext, owner = decrypt(ours.key, encrypted)
        except (CallbackError, orjson.JSONDecodeError, KeyError, TypeError):
            return web.Response(status=403)
        if owner not in ours.owner_keys:
            return web.Response(status=403)
        now_ms = int(time.time() * 1000)
        self.seq += 1
        try:
            for record in to_records(Received(self.seq, "naive", now_ms, "default", "http", plaintext)):
                topic = unclassified_topic(self.settings)
                if record.event_type is not None:
                    topic = event_topic(self.settings, record.event_type)
                await self.producer.send_and_wait(
                    topic, record.value, key=record.key, headers=list(record.headers)
                )
        except KafkaError:
            return web.Response(status=503)
        timestamp, nonce = str(now_ms), "12345678"
        success = encrypt(ours.key, b"success", owner)
        answer = {
            "msg_signature": sign(ours.token, timestamp, nonce, success),
            "timeStamp": timestamp,
            "nonce": nonce,
            "encrypt": success,
        }
        return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def main(port: int) -> None:
    settings = IngressSettings.load()
    await ensure_topics(
        settings, [event_topic(settings, "bpms_instance_change"), unclassified_topic(settings)]
    )
    naive = Naive(settings)
    await naive.producer.start()
    server = web.Server(naive.handle, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
