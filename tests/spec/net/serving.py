"""What the servers of the tests share: how they say where they listen, and when they end."""
import asyncio
import os
import stat
import sys


async def serve(server):
    """Prints "PORT n". Ends with its parent, if stdin is a pipe of the parent's; otherwise by a signal."""
    print("PORT", server.sockets[0].getsockname()[1], flush=True)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    else:
        await asyncio.Event().wait()
