"""A chat client in the hands of a test: slixmpp that does what it reads, a JSON object a line, and writes what happens,
a JSON object a line.

chatter.py JID PASSWORD AUTHORITIES [sasl=MECHANISM] [tls=1.2|1.3]

Commands: {"do": "connect", "host", "port", "mode": "starttls" | "direct" | "plain"}, "message" {to, body}, "presence" {show},
"join" {room, nick}, "say" {room, body}, "ping", "raw" {text}, "abort" (the TCP connection, without a word), "leave".
"""
import asyncio
import json
import logging
import ssl
import sys

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout

jid, password, authorities = sys.argv[1:4]
options = dict(argument.split("=", 1) for argument in sys.argv[4:])
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def context():
    made = ssl.create_default_context(cafile=authorities)
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    if "tls" in options:
        made.minimum_version = made.maximum_version = versions[options["tls"]]
    return made


class Chatter(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech=options.get("sasl"), ssl_context=context())
        for plugin in ("xep_0030", "xep_0045", "xep_0198", "xep_0199"):
            self.register_plugin(plugin)
        simple = {
            "session_resumed": "resumed", "session_end": "session_end", "connection_failed": "connection_failed",
            "failed_auth": "failed_auth", "failed_all_auth": "failed_all_auth", "disconnected": "disconnected",
        }
        for name, event in simple.items():
            self.add_event_handler(name, lambda cause, event=event: say(event, text=text_of(cause)))
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("stream_error", lambda error: say("stream_error", text=error["condition"]))
        self.add_event_handler("message", self.heard)
        self.add_event_handler("changed_status", lambda p: say("presence", who=p["from"].full, text=p["type"]))
        self.add_event_handler("groupchat_subject", lambda m: say("joined", who=m["from"].bare, text=""))

    async def start(self, _):
        await self.get_roster()
        tls = self.transport.get_extra_info("ssl_object")
        self.send_presence()
        # Its answer comes after the server has taken the presence: only now do messages to the bare JID arrive.
        await self.pinged()
        say("session", who=self.boundjid.full, text=self.plugin["feature_mechanisms"].mech.name,
            tls=tls.version() if tls else "none", alpn=(tls and tls.selected_alpn_protocol()) or "")

    def heard(self, message):
        kind = "room" if message["type"] == "groupchat" else "message"
        if message["type"] == "error":
            kind = "bounced"
        if message["body"]:
            say(kind, who=message["from"].full, text=message["body"])

    async def do(self, order):
        what = order["do"]
        if what == "connect":
            mode = order["mode"]
            self.enable_starttls, self.enable_direct_tls = mode == "starttls", mode == "direct"
            self.enable_plaintext = mode == "plain"
            self.connect(order["host"], order["port"])
        elif what == "message":
            self.send_message(mto=order["to"], mbody=order["body"], mtype="chat")
        elif what == "presence":
            self.send_presence(pshow=order["show"])
        elif what == "subscribe":
            self.send_presence_subscription(order["to"])
        elif what == "join":
            self.plugin["xep_0045"].join_muc(order["room"], order["nick"])
        elif what == "say":
            self.send_message(mto=order["room"], mbody=order["body"], mtype="groupchat")
        elif what == "ping":
            await self.ping()
        elif what == "raw":
            self.send_raw(order["text"])
        elif what == "abort":
            self.cancel_connection_attempt()
            if self.transport:
                self.transport.abort()
        elif what == "leave":
            await self.disconnect(wait=1)
            say("left")

    async def ping(self):
        say("pong" if await self.pinged() else "no_pong")

    async def pinged(self):
        try:
            await self.plugin["xep_0199"].send_ping(self.boundjid.domain, timeout=5)
        except IqError:
            pass
        except IqTimeout:
            return False
        return True


def text_of(cause):
    if cause is None:
        return ""
    if isinstance(cause, (str, Exception)):
        return str(cause)
    try:
        return cause["condition"]
    except (KeyError, TypeError):
        return ""


async def main():
    chatter = Chatter()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("ready")
    running = set()
    while line := await reader.readline():
        # Each in a task of its own: a ping that waits must not hold up the order to abort.
        task = asyncio.ensure_future(chatter.do(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)

asyncio.run(main())
