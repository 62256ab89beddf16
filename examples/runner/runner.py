"""A bot runner in some 30 lines: it takes the orders of attendee (`ATTENDEE_BOT_RUNNER=http`); its bots only pretend.

Put your own bot where the comment says. `docs/runners.md` has the whole contract.
"""

import asyncio
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web

bots: dict[str, asyncio.Task[None]] = {}


async def attend(order: dict[str, Any]) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {order['report_token']}"}) as http:

        async def report(step: str) -> None:
            while True:  # Until attendee has taken it in or refused it: the id makes a repeated report harmless.
                with suppress(aiohttp.ClientConnectionError):
                    async with http.post(order["report_url"], json={"id": step, "type": step}) as answer:
                        if answer.status < 500:
                            return
                await asyncio.sleep(1)

        await asyncio.sleep((datetime.fromisoformat(order["join_at"]) - datetime.now(UTC)).total_seconds())
        await report("join_requested")
        # Here your bot goes to order["meeting_url"], under the name order["bot_name"].
        await report("joined_meeting")
        with suppress(asyncio.CancelledError):  # It is cancelled when it is to leave.
            while True:
                await report("heartbeat")
                await asyncio.sleep(30)
        await report("left_meeting")
        await report("post_processing_completed")


async def stage(request: web.Request) -> web.Response:
    order = await request.json()
    if order["bot_id"] not in bots:  # The same order may come again: its bot is started once.
        bots[order["bot_id"]] = asyncio.create_task(attend(order))
    return web.Response()


async def end(request: web.Request) -> web.Response:
    bot_id = request.match_info["bot_id"]
    if bot_id in bots and not bots[bot_id].cancelling():
        bots[bot_id].cancel()
    if request.method == "DELETE":  # Called off: another order for this bot is another launch.
        bots.pop(bot_id, None)
    return web.Response()


@web.middleware
async def check_key(request: web.Request, handler: Any) -> web.StreamResponse:
    is_right = request.headers.get("Authorization") == f"Bearer {os.environ['RUNNER_KEY']}"
    return await handler(request) if is_right else web.Response(status=401)


app = web.Application(middlewares=[check_key])
app.add_routes([web.post("/bots", stage), web.delete("/bots/{bot_id}", end), web.post("/bots/{bot_id}/leave", end)])
web.run_app(app, host="127.0.0.1", port=int(os.environ.get("RUNNER_PORT", "9000")))
