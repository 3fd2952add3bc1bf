"""A forwarder in Flask and requests, round robin. Arguments: port, then the services' URLs."""

import itertools
import logging
import sys

import requests
from flask import Flask, Response, request

IS_LOGGING = "--log" in sys.argv
PORT, *URLS = (word for word in sys.argv[1:] if word != "--log")

app = Flask(__name__)
backends = itertools.cycle(URLS)
if not IS_LOGGING:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)


@app.route("/", methods=["GET", "POST"])
def forward() -> Response:
    reply = requests.request(
        request.method,
        next(backends),
        params=request.args.to_dict(),
        data=request.get_data(),
        headers={
            "Content-Type": request.headers.get("Content-Type", ""),
            "X-Forwarded-For": request.remote_addr or "",
        },
        timeout=60,
    )
    return Response(reply.content, reply.status_code, content_type=reply.headers["Content-Type"])


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(PORT), threaded=True)
