"""Clients that post until standard input ends; then what became of their requests.

Half of them keep their connection, the others take a new one for each request.

Prints a line when the first answer has come, and at the end an object: how many were answered, and what went wrong.
"""

import hashlib
import http.client
import json
import os
import random
import sys
import threading
import time
from collections import Counter

CLIENTS = 8
PORT = 4999
THOUGHT_S = 0.01


class Load:
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.first = threading.Event()
        self.over = threading.Event()
        self._lock = threading.Lock()

    def go_on(self, *, keeps: bool) -> None:
        """Post again and again, all on one connection if the service `keeps` it, with a pause for thought between."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        while not self.over.is_set():
            began = time.monotonic()
            outcome = post(connection, os.urandom(3000), "keep-alive" if keeps else "close")
            with self._lock:
                self.outcomes[outcome] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.first.set()
            if keeps:
                time.sleep(random.uniform(0, THOUGHT_S))
        connection.close()


def post(connection: http.client.HTTPConnection, body: bytes, wish: str) -> str:
    """What became of one request; the next finds the connection open, or opens it again."""
    try:
        connection.request("POST", "/", body, {"Connection": wish})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        if reply.status == 200 and answer["sha256"] != hashlib.sha256(body).hexdigest():
            return "somebody else's answer"
        return str(reply.status)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return f"{wish}: {type(error).__name__}"


def main() -> None:
    load = Load()
    clients = [threading.Thread(target=load.go_on, kwargs={"keeps": bool(n % 2)}) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    load.first.wait()
    print("answered", flush=True)
    sys.stdin.read()
    load.over.set()
    for client in clients:
        client.join()
    print(json.dumps({"outcomes": load.outcomes, "slowest_s": load.slowest_s}))


if __name__ == "__main__":
    main()
