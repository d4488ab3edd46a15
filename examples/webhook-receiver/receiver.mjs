// A receiver of Fabrique's webhooks: checks each signature, prints each event once, and answers within moments.
// PORT (8787) is where it listens, WEBHOOK_SECRET what the registration answered.
import { createServer } from 'node:http'
import { Webhook } from 'standardwebhooks'

const BODY_BYTES_MAX = 4 * 1024 * 1024
const webhook = new Webhook(process.env.WEBHOOK_SECRET ?? '')
// An event may come more than once, with the same id. Who acts on events keeps the ids where they outlive the process.
const seen = new Set()

/** The bytes as they came: parsed and written again they would not fit their signature. */
async function readBody(request) {
  const chunks = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new Error('the body is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

async function receive(request, response) {
  try {
    const message = webhook.verify(await readBody(request), request.headers)
    if (!seen.has(message.data.id)) console.log(`${message.type} ${message.data.run_id}`)
    seen.add(message.data.id)
    response.writeHead(204).end()
  } catch (error) {
    console.error(`refused: ${error.message}`)
    response.writeHead(400).end()
  }
}

const server = createServer((request, response) => void receive(request, response))
server.listen(Number(process.env.PORT ?? 8787), '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
