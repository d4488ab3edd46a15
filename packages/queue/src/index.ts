// Delivery and news: the only package that imports bullmq.
// Hides Redis; `services` starts and checks the server, by ioredis alone.
export { createConsumer, type Consumer, type ConsumerOptions } from './consumer.ts'
export { type ClosableLimits, createLimits, type LimitRule, type LimitsOptions } from './limits.ts'
export { createMemoryRunQueue, type MemoryRunQueue } from './memory-queue.ts'
export { createNews, type News } from './news.ts'
export { type BullRunQueue, createRunQueue, LANES, queueNames } from './run-queue.ts'
