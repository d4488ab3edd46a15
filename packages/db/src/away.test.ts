import { describe, expect, it } from 'vitest'
import { isAway } from './away.ts'

const withCode = (code: string) => Object.assign(new Error('it failed'), { code })

describe('the record is away', () => {
  it.each([
    ['08006', 'a broken connection'],
    ['08P01', 'a broken protocol'],
    ['25006', 'a standby, or a server that was made read-only'],
    ['40001', 'a conflict'],
    ['40P01', 'a deadlock'],
    ['53100', 'a full disk'],
    ['53300', 'no connection left'],
    ['55P03', 'a lock that was not to be had'],
    ['57014', 'a statement that was given up'],
    ['57P01', 'a shutdown'],
    ['57P02', 'a crash'],
    ['57P03', 'a start-up'],
    ['58030', 'a disk that fails'],
    ['ECONNREFUSED', 'nobody at the port'],
    ['EAI_AGAIN', 'a name server that is away'],
    ['EHOSTUNREACH', 'no way to the host'],
  ])('for %s: %s', (code) => {
    expect(isAway(withCode(code))).toBe(true)
  })

  it.each(['22021', '22P05', '23505', '42P01', '42501', '54001'])(
    'but not for %s, which is of the statement',
    (code) => {
      expect(isAway(withCode(code))).toBe(false)
    },
  )
})
