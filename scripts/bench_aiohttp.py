#!/usr/bin/env python3
"""The peer of the teacher's bench: an aiohttp client that asks, parses and stores nothing.   bench_aiohttp.py URL REQUESTS CONCURRENCY CORE
Prints requests a second and processor time a request. Bodies are made and answers parsed by the standard json module."""
import asyncio
import json
import os
import sys
import time

import aiohttp

url, total, concurrency, core = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if core >= 0:
    os.sched_setaffinity(0, {core})
left = total


async def worker(session):
    global left
    while left > 0:
        left -= 1
        n = left
        body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": f"What is {n} + {n}?"}], "max_tokens": 100})
        async with session.post(url + "/chat/completions", data=body, headers={"Content-Type": "application/json"}) as r:
            answer = json.loads(await r.read())
            answer["choices"][0]["message"]["content"]


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        began, used = time.monotonic(), time.process_time()
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))
        took, used = time.monotonic() - began, time.process_time() - used
    print(f"{total / took:.0f} {1e6 * used / total:.1f}")


asyncio.run(main())
