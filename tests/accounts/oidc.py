"""A small OpenID Connect provider on loopback: discovery, authorization code flow, signed tokens."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET, KEY_ID = "countinghouse", "a secret between the two", "1"


class Provider(ThreadingHTTPServer):
    """Whoever comes to sign in is `person`, its claims; `answer` replaces the token's answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.person: dict[str, Any] = {}
        self.answer: dict[str, Any] | None = None
        self.codes: dict[str, dict[str, str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def settings(self) -> dict[str, Any]:
        """What SOCIAL_SIGN_IN holds for it."""
        app = {
            "provider_id": "example",
            "name": "Example SSO",
            "client_id": CLIENT_ID,
            "secret": CLIENT_SECRET,
            "settings": {"server_url": self.url, "oauth_pkce_enabled": True},
        }
        return {"openid_connect": {"APPS": [app]}}


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        if url.path == "/.well-known/openid-configuration":
            base = self.server.url
            self.answer(
                {
                    "issuer": base,
                    "authorization_endpoint": f"{base}/authorize",
                    "token_endpoint": f"{base}/token",
                    "userinfo_endpoint": f"{base}/userinfo",
                    "jwks_uri": f"{base}/jwks",
                    "token_endpoint_auth_methods_supported": ["client_secret_post"],
                }
            )
        elif url.path == "/jwks":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.server.key.public_key()))
            self.answer({"keys": [public | {"kid": KEY_ID, "alg": "RS256", "use": "sig"}]})
        elif url.path == "/userinfo" and self.headers["Authorization"] == "Bearer an access token":
            self.answer(self.server.person)
        elif url.path == "/authorize" and query["client_id"] == [CLIENT_ID]:
            code = secrets.token_urlsafe()
            self.server.codes[code] = {"redirect_uri": query["redirect_uri"][0]}
            self.send_response(302)
            back = urlencode({"code": code, "state": query["state"][0]})
            self.send_header("Location", f"{query['redirect_uri'][0]}?{back}")
            self.end_headers()
        else:
            self.answer({"error": "invalid_request"}, status=400)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = self.server.codes.pop(form["code"][0], None)
        right = {"client_id": [CLIENT_ID], "client_secret": [CLIENT_SECRET]}
        if known is None or not right.items() <= form.items() or "code_verifier" not in form:
            self.answer({"error": "invalid_grant"}, status=400)
            return
        now = int(time.time())
        claims = self.server.person | {
            "iss": self.server.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
        }
        token = jwt.encode(claims, self.server.key, algorithm="RS256", headers={"kid": KEY_ID})
        self.answer(
            self.server.answer
            or {"access_token": "an access token", "token_type": "Bearer", "id_token": token}
        )

    def answer(self, body: dict[str, Any], *, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve() -> Iterator[Provider]:
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            provider.shutdown()
            thread.join()
