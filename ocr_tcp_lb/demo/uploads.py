"""The image in a request's body: raw bytes, a multipart/form-data upload, or JSON with base64.

`image_of` takes the Content-Type and the whole body and returns the image's bytes, or raises
`UploadError` with a sentence for the client. It judges only the wrapping, not the image. Pure.
"""

import base64
import binascii
import json
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from ocr_tcp_lb.errors import LoadBalancerError

_FIELDS = ("file", "image")  # what OCR clients call the upload


class UploadError(LoadBalancerError):
    """There is no image in the body, or its wrapping is broken."""


def image_of(content_type: str, body: bytes) -> bytes:
    """Return the image that `body` carries; anything but a form or JSON is taken for the image itself."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        image = _from_form(content_type, body)
    elif kind == "application/json":
        image = _from_json(body)
    else:
        # `curl --data-binary` says application/x-www-form-urlencoded whatever it sends.
        image = body
    if not image:
        raise UploadError("the body is empty: POST an image as the body, as a form file, or as JSON")
    return image


def _from_form(content_type: str, body: bytes) -> bytes:
    """RFC 7578: a form is a MIME message whose head is the request's Content-Type."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(_class=EmailMessage, policy=policy.HTTP).parsebytes(head + body)
    parts = list(message.iter_parts()) if message.is_multipart() else []
    files = [part for part in parts if part.get_filename() is not None]
    named = [part for part in parts if part.get_param("name", header="content-disposition") in _FIELDS]
    for part in files + named:
        data = part.get_payload(decode=True)
        if isinstance(data, bytes):
            return data
    raise UploadError("the form has no file: send one, as in curl -F file=@scan.png")


def _from_json(body: bytes) -> bytes:
    usage = 'the JSON must be {"image": "<base64>"}'
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UploadError(f"this is not JSON; {usage}") from error
    text = document.get("image") if isinstance(document, dict) else None
    if not isinstance(text, str):
        raise UploadError(usage)
    if text.startswith("data:"):  # RFC 2397, as browsers write it
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UploadError(f"the image is not base64; {usage}") from error
