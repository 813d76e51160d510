"""A WebSocket server of loopback, which prints its port, and lives until its standard input ends. Its
arguments are the library and that port, or 0 for a free one. What it does at a path and what it tells
over plain HTTP is what `rust_server.rs` does and tells.
"""

import asyncio
import collections
import sys

LARGE = bytes(3 << 20)
LARGEST_MESSAGE = 4 << 20
LARGEST_FRAME = 2 << 20
PORT = int(sys.argv[2])


class Journal:
    """What was seen, by kind."""

    def __init__(self):
        self.lines, self.news = collections.defaultdict(list), asyncio.Condition()

    def note(self, kind, line=""):
        self.lines[kind].append(line)
        asyncio.create_task(self.tell())

    async def tell(self):
        async with self.news:
            self.news.notify_all()

    async def seen(self, kind, count):
        async with self.news:
            await self.news.wait_for(lambda: len(self.lines[kind]) >= count)
        return "\n".join(self.lines[kind])


async def answer(journal, path):
    """What a path says without a WebSocket: status and text."""
    match path.split("/")[1:]:
        case ["seen", kind, count]:
            return 200, await journal.seen(kind, int(count))
        case ["status", status]:
            return int(status), "no"
        case ["busy"] if not journal.lines["busy"]:
            journal.note("busy")
            return 503, "come again"
    return None


async def behave(journal, path, ws):
    """What a path does; `ws` has send, recv, close and mute."""
    journal.note("open")
    try:
        match path.split("/")[1:]:
            case ["headers"]:
                await ws.send("\n".join(f"{name.lower()}: {value}" for name, value in ws.headers()))
            case ["large"]:
                await ws.send(LARGE)
            case ["close", code, reason]:
                await ws.send("bye")
                return await ws.close(int(code), reason)
            case ["crowd"]:
                for n in range(1 << 20):
                    await ws.send(f"{n} {'x' * 10_000}")
            case ["mute"] if len(journal.lines["open"]) == 1:
                await ws.mute()
        while (message := await ws.recv()) is not None:
            small = isinstance(message, str) and len(message) < 100
            journal.note("message", message if small else str(len(message)))
            if path != "/listen":
                await ws.send(message)
    finally:
        journal.note("close", ws.how_closed())


async def with_websockets(journal):
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.frames import Frame, Opcode

    class Connection(ServerConnection):
        def process_event(self, event):
            if isinstance(event, Frame) and event.opcode in (Opcode.PING, Opcode.PONG):
                journal.note(event.opcode.name.lower())
            super().process_event(event)

    class Socket:
        def __init__(self, connection):
            self.connection = connection
            self.send, self.close = connection.send, connection.close

        def headers(self):
            return self.connection.request.headers.raw_items()

        async def recv(self):
            try:
                return await self.connection.recv()
            except ConnectionClosed:
                return None

        async def mute(self):
            self.connection.transport.pause_reading()
            await asyncio.Event().wait()

        def how_closed(self):
            frame = self.connection.protocol.close_rcvd
            return f"{int(frame.code)} {frame.reason}" if frame else ""

    async def handler(connection):
        try:
            await behave(journal, connection.request.path, Socket(connection))
        except ConnectionClosed:
            pass

    async def check(connection, request):
        if (told := await answer(journal, request.path)) is None:
            return None
        response = connection.respond(*told)
        if request.path == "/busy":
            response.headers["Retry-After"] = "1"
        return response

    server = await serve(
        handler,
        "127.0.0.1",
        PORT,
        select_subprotocol=lambda _, offered: "v2.chat" if "v2.chat" in offered else None,
        process_request=check,
        max_size=(LARGEST_MESSAGE, LARGEST_FRAME),
        ping_interval=0.5,
        create_connection=Connection,
    )
    return server.sockets[0].getsockname()[1]


async def with_aiohttp(journal):
    from aiohttp import WSMsgType, web

    class Socket:
        def __init__(self, request, response):
            self.request, self.response, self.told = request, response, ""

        def headers(self):
            return self.request.headers.items()

        async def send(self, message):
            if isinstance(message, str):
                await self.response.send_str(message)
            else:
                await self.response.send_bytes(message)

        async def recv(self):
            while True:
                message = await self.response.receive()
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    return message.data
                if message.type == WSMsgType.CLOSE:
                    self.told = f"{message.data} {message.extra}"
                if message.type not in (WSMsgType.PING, WSMsgType.PONG):
                    return None
                journal.note(message.type.name.lower())
                if message.type == WSMsgType.PING:
                    await self.response.pong(message.data)

        async def mute(self):
            await asyncio.Event().wait()

        async def close(self, code, reason):
            await self.response.close(code=code, message=reason.encode())
            # It keeps the code of the answer alone.
            self.told = f"{self.response.close_code} {reason}"

        def how_closed(self):
            return self.told

    async def handler(request):
        if (told := await answer(journal, request.path)) is not None:
            status, text = told
            headers = {"Retry-After": "1"} if request.path == "/busy" else {}
            return web.Response(status=status, text=text, headers=headers)
        response = web.WebSocketResponse(
            protocols=("v2.chat",),
            # Pings and pongs are told.
            autoping=False,
            heartbeat=1.0 if request.path == "/keepalive" else None,
            max_msg_size=LARGEST_MESSAGE,
        )
        await response.prepare(request)
        try:
            await behave(journal, request.path, Socket(request, response))
        except ConnectionError:
            pass
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
    print(await start(Journal()), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
