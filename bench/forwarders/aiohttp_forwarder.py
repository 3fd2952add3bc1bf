"""A forwarder in aiohttp: probe all services, send the request to the fastest. Arguments: port, then the URLs.

It opens a session where it needs one, as the first example of aiohttp's client documentation does.
"""

import asyncio
import logging
import sys
import time

import aiohttp
from aiohttp import web

IS_LOGGING = "--log" in sys.argv
PORT, *BACKENDS = (word for word in sys.argv[1:] if word != "--log")


async def probe(session: aiohttp.ClientSession, url: str) -> tuple[float, str]:
    began = time.perf_counter()
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=1)) as reply:
            await reply.read()
    except (aiohttp.ClientError, TimeoutError):
        return float("inf"), url
    return time.perf_counter() - began, url


async def forward(request: web.Request) -> web.Response:
    body = await request.read()
    headers = {"X-Forwarded-For": request.remote or "", "Content-Type": request.content_type}
    async with aiohttp.ClientSession() as session:
        _, fastest = min(await asyncio.gather(*(probe(session, url) for url in BACKENDS)))
        async with session.request(request.method, fastest, params=request.query, data=body, headers=headers) as reply:
            return web.Response(body=await reply.read(), status=reply.status, content_type=reply.content_type)


app = web.Application(client_max_size=64 * 1024 * 1024)
app.router.add_route("*", "/", forward)

if __name__ == "__main__":
    if IS_LOGGING:
        logging.basicConfig(level=logging.INFO)
        web.run_app(app, host="127.0.0.1", port=int(PORT), print=None)
    else:
        web.run_app(app, host="127.0.0.1", port=int(PORT), access_log=None, print=None)
