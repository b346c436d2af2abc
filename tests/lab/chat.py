"""A chat client for the laboratory: slixmpp, driven by lines of JSON.

In:   {"do": "send", "xml": "<iq …/>"}    sends a stanza as it is
      {"do": "presence"}                   sends initial presence, with entity capabilities
Out:  {"event": "online" | "refused" | "ended"}
      {"event": "in", "xml": "<message …>"} each stanza that comes, in canonical XML
      {"event": "roster", "xml": "<query …>"} before a stanza with a roster: that roster as its bytes came

Ends when its input ends.
"""

import asyncio
import json
import logging
import re
import sys
from xml.etree import ElementTree

import slixmpp

ROSTER = re.compile(rb"<query\b[^>]*jabber:iq:roster.*?</query>", re.DOTALL)
LONGEST = 1 << 20
NOTIFY = ("http://jabber.org/protocol/activity+notify", "urn:xmpp:reach:0+notify", "urn:xmpp:vcard4+notify")


def say(**words):
    print(json.dumps(words), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password):
        super().__init__(jid, password)
        # One host, two virtual hosts, no certificates: the stream stays inside a namespace.
        self["feature_mechanisms"].unencrypted_plain = True
        self["feature_mechanisms"].unencrypted_scram = True
        self.bytes_read = b""
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0115")
        self.auto_authorize = None
        self.add_filter("in", self.show)
        self.add_event_handler("session_start", lambda _: say(event="online"))
        self.add_event_handler("failed_all_auth", lambda _: say(event="refused"))
        self.add_event_handler("disconnected", lambda _: say(event="ended"))

    def data_received(self, data):
        self.bytes_read = (self.bytes_read + data)[-LONGEST:]
        super().data_received(data)

    def show(self, stanza):
        if stanza.xml.find("{jabber:iq:roster}query") is not None:
            rosters = ROSTER.findall(self.bytes_read)
            say(event="roster", xml=rosters[-1].decode() if rosters else "")
            self.bytes_read = b""
        text = ElementTree.tostring(stanza.xml, encoding="unicode")
        say(event="in", xml=ElementTree.canonicalize(text))
        return stanza

    async def obey(self):
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 24)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            order = json.loads(line)
            if order["do"] == "send":
                self.send_raw(order["xml"])
            elif order["do"] == "presence":
                for feature in NOTIFY:
                    await self["xep_0030"].add_feature(feature)
                await self["xep_0115"].update_caps(broadcast=False)
                self.send_presence()
        self.disconnect(wait=0.2)
        await asyncio.sleep(0.3)


def main():
    logging.basicConfig(level=logging.ERROR)
    jid, password, host, port = sys.argv[1:]
    client = Client(jid, password)
    client.connect((host, int(port)), disable_starttls=True, force_starttls=False)
    client.loop.run_until_complete(client.obey())


main()
