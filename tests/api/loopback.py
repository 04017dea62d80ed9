"""An aiohttp application on a free loopback port, in its own thread."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from waiting import PATIENCE


@contextmanager
def serve(app: web.Application, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run `app` while the block lasts; yields its address, such as http://127.0.0.1:40123.

    With a certificate in `tls`, it speaks https."""
    scheme = "https" if tls else "http"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[web.AppRunner, str]:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        return runner, f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"

    runner, address = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
