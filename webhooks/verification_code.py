"""Code to paste that checks a webhook's signature, with an endpoint's secret in its place."""

from dataclasses import dataclass

PLACEHOLDER = "whsec_…"  # where the secret goes

_PYTHON = """\
# pip install svix flask
import json

from flask import Flask, request
from svix.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_…"
app = Flask(__name__)


@app.post("/webhooks")
def receive():
    body = request.get_data()  # the bytes as they came: what was parsed and written again has another signature
    try:
        Webhook(SECRET).verify(body, dict(request.headers))
    except WebhookVerificationError:
        return "", 400
    event = json.loads(body)
    print(event["type"], event["data"])
    return "", 204
"""

_NODE = """\
// npm install svix express
import express from "express";
import { Webhook } from "svix";

const SECRET = "whsec_…";
const app = express();

// The body as it came: what was parsed and written again has another signature.
app.post("/webhooks", express.raw({ type: "application/json" }), (request, response) => {
  let event;
  try {
    event = new Webhook(SECRET).verify(request.body.toString(), request.headers);
  } catch {
    return response.sendStatus(400);
  }
  console.log(event.type, event.data);
  response.sendStatus(204);
});

app.listen(3000);
"""

_GO = """\
// go get github.com/svix/svix-webhooks
package main

import (
\t"io"
\t"log"
\t"net/http"

\tsvix "github.com/svix/svix-webhooks/go"
)

const secret = "whsec_…"

func main() {
\tverifier, err := svix.NewWebhook(secret)
\tif err != nil {
\t\tlog.Fatal(err)
\t}
\thttp.HandleFunc("/webhooks", func(w http.ResponseWriter, r *http.Request) {
\t\tbody, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
\t\tif err != nil || verifier.Verify(body, r.Header) != nil {
\t\t\tw.WriteHeader(http.StatusBadRequest)
\t\t\treturn
\t\t}
\t\tlog.Printf("%s", body)
\t\tw.WriteHeader(http.StatusNoContent)
\t})
\tlog.Fatal(http.ListenAndServe(":3000", nil))
}
"""

_CURL = """\
# Sends your receiver a message signed as ours are: it has to take this one, and to refuse it with another body.
SECRET='whsec_…'
URL='http://localhost:3000/webhooks'
BODY='{"type":"job.completed","timestamp":"2026-03-04T09:30:00.000000Z","data":{"job_id":"a-test"}}'
ID='msg_test'
TIMESTAMP="$(date +%s)"
KEY="$(printf %s "${SECRET#whsec_}" | base64 -d | od -An -v -tx1 | tr -d ' \\n')"
SIGNATURE="$(printf '%s.%s.%s' "$ID" "$TIMESTAMP" "$BODY" \\
  | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$KEY" -binary | base64)"
curl -i "$URL" \\
  -H 'content-type: application/json' \\
  -H "svix-id: $ID" -H "svix-timestamp: $TIMESTAMP" -H "svix-signature: v1,$SIGNATURE" \\
  -d "$BODY"
"""


@dataclass(frozen=True)
class Snippet:
    name: str
    language: str
    code: str


def snippets(secret: str = PLACEHOLDER) -> list[Snippet]:
    """Return the code in each language, with this secret."""
    return [
        Snippet(name, language, code.replace(PLACEHOLDER, secret))
        for name, language, code in (
            ("python", "Python", _PYTHON),
            ("node", "Node.js", _NODE),
            ("go", "Go", _GO),
            ("curl", "curl", _CURL),
        )
    ]
