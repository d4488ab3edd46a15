// Webhooks, the sending half: what is due is signed, sent and judged. The record is behind a port.
export * from './dispatcher.ts'
export * from './send.ts'
