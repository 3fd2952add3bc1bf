"""What the bytes mean: HTTP/1.1 heads, framing and rewriting, without a socket or a clock.

`boundary` finds a head, `requests` and `responses` parse it into a `head`, which writes itself for the next
hop; `framing` and `chunked` say where a body ends; `rewrite` names the target; `replies` are our own answers.
`wishes` is what a request asks of the scheduler, `proxy_protocol` what a proxy says before its first byte.
`errors` are what all of them raise. Underneath, `fields`, `startline` and `targets` are the grammar; `shapes`,
`plans` and `authority` are how a head is understood once and recognized afterwards.
"""

from ocr_tcp_lb.wire.boundary import head_end, reply_head_end
from ocr_tcp_lb.wire.chunked import ChunkedBody
from ocr_tcp_lb.wire.errors import ProtocolError, ReplyError, RequestError
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import Hop, ReplyHead, RequestHead
from ocr_tcp_lb.wire.replies import CONTINUE_REPLY, REASONS, error_reply
from ocr_tcp_lb.wire.requests import RequestParser
from ocr_tcp_lb.wire.responses import ReplyParser
from ocr_tcp_lb.wire.rewrite import Router

__all__ = [
    "CONTINUE_REPLY",
    "REASONS",
    "ChunkedBody",
    "Framing",
    "Hop",
    "ProtocolError",
    "ReplyError",
    "ReplyHead",
    "ReplyParser",
    "RequestError",
    "RequestHead",
    "RequestParser",
    "Router",
    "error_reply",
    "head_end",
    "reply_head_end",
]
