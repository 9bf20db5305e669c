"""The product, and ahead of all of it an answer for which nothing is done."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from config.wsgi import application as product

HEADERS = [("Content-Type", "application/json"), ("Content-Length", "2")]


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/noop":
        return product(environ, start_response)
    start_response("200 OK", HEADERS)
    return [b"{}"]
