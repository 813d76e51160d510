"""A WebSocket server of loopback, which prints its port. Its arguments are the library and that port,
or 0 for a free one.
"""

import asyncio
import sys

LARGE = bytes(3 << 20)
PORT = int(sys.argv[2])


async def behave(path, ws):
    """What a path does; `ws` has send, recv, ping and close."""
    if path == "/ping":
        await ws.ping()
        await ws.send("ponged")
    elif path == "/large":
        await ws.send(LARGE)
    elif path == "/close":
        await ws.send("bye")
        return await ws.close(4000, "why")
    while (message := await ws.recv()) is not None:
        await ws.send(message)


async def with_websockets():
    from websockets.asyncio.server import serve
    from websockets.exceptions import ConnectionClosed

    class Socket:
        def __init__(self, connection):
            self.connection = connection
            self.send, self.close = connection.send, connection.close

        async def recv(self):
            try:
                return await self.connection.recv()
            except ConnectionClosed:
                return None

        async def ping(self):
            await (await self.connection.ping())

    async def handler(connection):
        await behave(connection.request.path, Socket(connection))

    def check(connection, request):
        if request.path == "/refused":
            return connection.respond(401, "who?")

    server = await serve(
        handler, "127.0.0.1", PORT, subprotocols=["v2.chat"], process_request=check, max_size=None
    )
    return server.sockets[0].getsockname()[1]


async def with_aiohttp():
    from aiohttp import WSMsgType, web

    class Socket:
        def __init__(self, response):
            self.response, self.early = response, []

        async def send(self, message):
            if isinstance(message, str):
                await self.response.send_str(message)
            else:
                await self.response.send_bytes(message)

        async def recv(self):
            message = await self.response.receive()
            return message.data if message.type in (WSMsgType.TEXT, WSMsgType.BINARY) else None

        async def ping(self):
            # Without autoping the pong is told.
            await self.response.ping(b"from aiohttp")
            message = await self.response.receive()
            assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"from aiohttp"), message

        async def close(self, code, reason):
            await self.response.close(code=code, message=reason.encode())

    async def handler(request):
        if request.path == "/refused":
            return web.Response(status=401, text="who?")
        autoping = request.path != "/ping"
        response = web.WebSocketResponse(
            protocols=("v2.chat",), autoping=autoping, max_msg_size=0
        )
        await response.prepare(request)
        await behave(request.path, Socket(response))
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", PORT)
    await site.start()
    return site._server.sockets[0].getsockname()[1]


async def main():
    start = {"websockets": with_websockets, "aiohttp": with_aiohttp}[sys.argv[1]]
    print(await start(), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
