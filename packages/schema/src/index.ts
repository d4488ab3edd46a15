// The language of the system: documents, resources, events, errors. Imports zod and parsers only.
export * from './document.ts'
export * from './error.ts'
export * from './json.ts'
export * from './pricing.ts'
export * from './run.ts'
export * from './run-spec.ts'
export * from './template.ts'
