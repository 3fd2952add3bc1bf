"""Clients that post, each request on a connection of its own, until standard input ends; then what became of them.

Prints a line when the first answer has come, and at the end an object: how many were answered, and what went wrong.
"""

import hashlib
import http.client
import json
import os
import sys
import threading
import time
from collections import Counter

CLIENTS = 8
PORT = 4999


class Load:
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.first = threading.Event()
        self.over = threading.Event()
        self._lock = threading.Lock()

    def go_on(self) -> None:
        while not self.over.is_set():
            began = time.monotonic()
            outcome = post(os.urandom(3000))
            with self._lock:
                self.outcomes[outcome] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.first.set()


def post(body: bytes) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        connection.request("POST", "/", body, {"Connection": "close"})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        if reply.status == 200 and answer["sha256"] != hashlib.sha256(body).hexdigest():
            return "somebody else's answer"
        return str(reply.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def main() -> None:
    load = Load()
    clients = [threading.Thread(target=load.go_on) for _ in range(CLIENTS)]
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
