"""`pymoshi serve`: a page, an API, and the WebSocket that Kyutai's and NVIDIA's clients speak.

Two processes. This one answers requests and never computes; a worker computes, and may crash without taking the page
with it::

    browser, client -> security -> app (HTTP), events (/ws), chat (/api/chat)
                                   -> supervisor -> process = pipes = worker -> call -> Conversation

What passes through the pipes is in `messages`; what a call may be asked for in `options`.
"""

from pymoshi.server.settings import Settings

__all__ = ["Settings"]
