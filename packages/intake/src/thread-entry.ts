// Runs inside the compiling thread: one job at a time, answered by one message. Everything that could take long happens
// here, where it can be cut off.

import { parentPort } from 'node:worker_threads'
import type { Answer, Job } from './thread.ts'
import { compileValidator, createSchemaChecker, type Validator } from './validator.ts'

const KEPT_VALIDATORS = 16

const checkSchema = createSchemaChecker()
const validators = new Map<string, Validator>()

function answer(job: Job): Answer {
  if (job.kind === 'check') {
    const problems = checkSchema(job.schema)
    if (problems.length > 0 || job.clean === undefined) return { problems }
    try {
      compileValidator(job.clean)
      return { problems: [] }
    } catch (error) {
      const deep = error instanceof RangeError
      const reason =
        error instanceof Error && !deep ? error.message.slice(0, 200) : 'it has too many parts; simplify it'
      return { problems: [{ pointer: '', detail: `the schema does not compile: ${reason}` }] }
    }
  }
  let validator = validators.get(job.hash)
  if (validator === undefined) {
    validator = compileValidator(job.clean)
    const oldest = validators.keys().next()
    if (validators.size >= KEPT_VALIDATORS && oldest.done !== true) validators.delete(oldest.value)
    validators.set(job.hash, validator)
  }
  const problems = validator(job.value, job.showsValues)
  return { problems, value: job.value }
}

parentPort?.on('message', (job: Job) => parentPort?.postMessage(answer(job)))
parentPort?.postMessage('ready')
