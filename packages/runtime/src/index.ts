// What every process needs: configuration, logs, lifecycle.
export * from './env.ts'
export * from './killpoint.ts'
export * from './lifecycle.ts'
export * from './log.ts'
export { systemClock, systemIds } from './system.ts'
