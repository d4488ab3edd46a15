// What the headers of requests, answers and webhooks mean, for the description of the API.
export const REQUEST_HEADERS = {
  'Idempotency-Key': 'For 24 hours the same key and document answer the same run; 1 to 255 printable characters.',
  'If-Match': 'The ETag that the change is based on; 412 where it is no longer the current one.',
  'If-None-Match': 'ETags of what the client has; 304 where one is still right.',
  'Last-Event-ID': 'The `id:` of the last event that was seen; those behind it follow.',
  Prefer: '`wait=N`: answer when the run has ended or waits for a review, at the latest after N seconds (60).',
  Range: 'One range of bytes, such as `bytes=0-1023`.',
  'X-Request-Id': 'The id of the request in logs and problems; default: a new one.',
}
export const WEBHOOK_HEADERS = {
  'webhook-id': "The event's id, the same in every attempt.",
  'webhook-signature': '`v1,` and the signature of id, timestamp and body; one more for 24 hours after a rotation.',
  'webhook-timestamp': 'When it was sent, in seconds since 1970.',
}
export const ANSWER_HEADERS = {
  'Accept-Ranges': 'That ranges may be asked for.',
  'Cache-Control': 'How long the answer may be kept, and by whom.',
  'Content-Disposition': 'Whether a browser may show the file, and its name.',
  'Content-Range': 'Which bytes these are, and of how many.',
  ETag: 'What this state of the resource is called.',
  'Idempotent-Replayed': '`true`: the run was accepted before, under the same key.',
  Location: 'Where the resource is.',
  'Preference-Applied': 'The wait that was granted.',
  RateLimit: 'How many submits are left (`r`), and in how many seconds all are again (`t`).',
  'RateLimit-Policy': 'How many submits (`q`) an organization has in so many seconds (`w`).',
  'Retry-After': 'Whole seconds after which trying again makes sense.',
  'Set-Cookie': 'The session of the operator app, or its end.',
  'WWW-Authenticate': 'How to authenticate.',
  'X-Request-Id': 'The id of the request in logs and problems.',
}

export type HeaderName = keyof typeof REQUEST_HEADERS | keyof typeof ANSWER_HEADERS
