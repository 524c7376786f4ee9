"""The console, as somebody uses it who was called: logs in, and finds a person's events by the name.

``walk`` prints what a person can try next, in a browser and while the demo is kept.
"""

import asyncio
import re
from typing import Final

import aiohttp

from dev.demo.both_ways import EMPLOYEE, NAME
from dev.demo.processes import Processes

WITHIN_S: Final = 30.0


async def visit(processes: Processes, about: int) -> tuple[int | None, list[str]]:
    """Return how many events of the person were found, and what was not as it should be.

    The leave's events name the person, too. So this waits until more are found than the ``about`` that are
    about the person alone.
    """
    address = processes.url("console")
    cookies = aiohttp.CookieJar(unsafe=True)  # the address is a number
    timeout = aiohttp.ClientTimeout(total=WITHIN_S)
    clock = asyncio.get_running_loop().time
    deadline = clock() + WITHIN_S
    try:
        async with aiohttp.ClientSession(address, cookie_jar=cookies, timeout=timeout) as session:
            person = {"name": processes.console_user, "password": processes.console_password}
            async with session.post("/login", data=person, headers={"Origin": address}) as answer:
                if answer.status != 200:
                    return None, [f"console: the login is answered {answer.status}; see console.log"]
            while True:
                async with session.get("/find", params={"q": NAME, "lang": "en"}) as answer:
                    people = re.findall(rf'href="/find\?q=([^"]+)">{NAME}<', await answer.text())
                if EMPLOYEE in people:
                    async with session.get("/find", params={"q": EMPLOYEE, "lang": "en"}) as answer:
                        events = re.findall(r'<a href="/event\?', await answer.text())
                    if len(events) > about:
                        return len(events), []
                if clock() > deadline:
                    return None, [f"console: not all events of {NAME} are found after {WITHIN_S:g} s"]
                await asyncio.sleep(0.2)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return None, [f"console: it does not answer ({type(error).__name__}); see console.log in logs/"]


def walk(processes: Processes) -> list[str]:
    """What there is to see, for somebody with a browser."""
    return [
        f"console              {processes.url('console')}/",
        f"                     user {processes.console_user}, password {processes.console_password}",
        f"System A             {processes.system_a.page}",
        f"Find a person by the name ({NAME}) and open one of the events; break System A on its page, see",
        "it on Now, mend it, and send its letters back from Dead letters.",
    ]
