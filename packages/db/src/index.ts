// The record: the only package that imports pg and kysely. One store or reader per noun.
export * from './account-store.ts'
export * from './artifact-reader.ts'
export { createDb, type Db, migrate } from './client.ts'
export * from './pricing-store.ts'
export * from './run-reader.ts'
export * from './run-store.ts'
export * from './seed.ts'
export * from './template-store.ts'
