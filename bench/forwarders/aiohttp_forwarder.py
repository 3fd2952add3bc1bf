"""A forwarder in aiohttp with one session, round robin. Arguments: port, then the services' URLs."""

import itertools
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)
backends = itertools.cycle(sys.argv[2:])


async def open_session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as session:
        app[SESSION] = session
        yield


async def forward(request: web.Request) -> web.Response:
    body = await request.read()
    headers = {"X-Forwarded-For": request.remote or "", "Content-Type": request.content_type}
    session = request.app[SESSION]
    async with session.request(
        request.method, next(backends), params=request.query, data=body, headers=headers
    ) as reply:
        return web.Response(body=await reply.read(), status=reply.status, content_type=reply.content_type)


app = web.Application(client_max_size=64 * 1024 * 1024)
app.cleanup_ctx.append(open_session)
app.router.add_route("*", "/", forward)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
