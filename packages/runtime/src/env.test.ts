import { describe, expect, it } from 'vitest'
import { artifactStoreConfig, CommonEnv, parseEnv, providerLimits } from './env.ts'
import { ConfigurationError } from './lifecycle.ts'

const { PROVIDER_LIMITS } = CommonEnv

function storeOf(source: Record<string, string>) {
  const { DATABASE_URL: _, ...shape } = CommonEnv
  return artifactStoreConfig(parseEnv(shape, source), '/data/artifacts')
}
const KEYS = { AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 'do-not-tell' }

describe('ARTIFACT_STORE', () => {
  it('names a folder, and has a default', () => {
    expect(storeOf({})).toEqual({ address: '/data/artifacts', reserveBytes: 268_435_456 })
    expect(storeOf({ ARTIFACT_STORE: 'file:///data' })).toEqual({ address: 'file:///data', reserveBytes: 268_435_456 })
    const reserve = { ARTIFACT_RESERVE_MIB: '5' }
    expect(storeOf({ ARTIFACT_STORE: 'data/files', ...KEYS, ...reserve })).toEqual({
      address: 'data/files',
      reserveBytes: 5_242_880,
    })
  })

  it.each(['s3://pictures', 's3://pictures/', 's3://my.pictures-2/a/b_c/d.e', 's3://pictures/a/'])(
    'names a bucket: %s',
    (address) => {
      expect(storeOf({ ARTIFACT_STORE: address, ...KEYS })).toEqual({
        address,
        s3: { accessKeyId: 'AKIA', secretAccessKey: 'do-not-tell', region: 'us-east-1' },
      })
    },
  )

  it('takes another service, a region and temporary credentials', () => {
    const more = { S3_ENDPOINT: 'http://127.0.0.1:9000', AWS_REGION: 'auto', AWS_SESSION_TOKEN: 'token' }
    expect(storeOf({ ARTIFACT_STORE: 's3://pictures', ...KEYS, ...more }).s3).toMatchObject({
      endpoint: 'http://127.0.0.1:9000',
      region: 'auto',
      sessionToken: 'token',
    })
  })

  it.each([
    'ftp://host/folder',
    'file://host',
    's3://',
    's3://ab',
    's3://Pictures',
    's3://pictures//a',
    's3://pictures/../a',
    's3://pictures/./a',
    's3://pictures/a b',
    's3://pictures/a?b',
    's3://key:secret@pictures',
    'S3://pictures',
  ])('is refused in one line that does not repeat it: %s', (address) => {
    expect(() => storeOf({ ARTIFACT_STORE: address, ...KEYS })).toThrow(
      /^ARTIFACT_STORE: must be file:\/\/\/absolute\/folder, s3:\/\/bucket\/prefix, or a path$/,
    )
  })

  it('needs credentials for a bucket, and names those that are missing', () => {
    const ARTIFACT_STORE = 's3://pictures'
    const key = 'AWS_ACCESS_KEY_ID: is required by an s3:// ARTIFACT_STORE'
    const secret = 'AWS_SECRET_ACCESS_KEY: is required by an s3:// ARTIFACT_STORE'
    expect(() => storeOf({ ARTIFACT_STORE })).toThrow(new ConfigurationError(`${key}\n${secret}`))
    expect(() => storeOf({ ARTIFACT_STORE, AWS_SECRET_ACCESS_KEY: 'x' })).toThrow(new ConfigurationError(key))
    expect(() => storeOf({ ARTIFACT_STORE, AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: '' })).toThrow(
      new ConfigurationError(secret),
    )
  })

  it.each(['here', 'ftp://host', 'http://user:secret@host', 'https://host/?a=b', 'https://host/#a'])(
    'is at no endpoint like %s',
    (endpoint) => {
      expect(() => storeOf({ S3_ENDPOINT: endpoint })).toThrow(
        /^S3_ENDPOINT: must be like https:\/\/host or http:\/\/host:9000$/,
      )
    },
  )
})

function rulesOf(limits: string | undefined) {
  return providerLimits(parseEnv({ PROVIDER_LIMITS }, { PROVIDER_LIMITS: limits }))
}

describe('PROVIDER_LIMITS', () => {
  it('gives calls at once, starts per time or both, to a provider or one of its models', () => {
    expect(rulesOf('  openai=20,300/min fal=10\n openai/gpt-image-2=5  fal/fal-ai/x=7/s acme=1000/h ')).toEqual([
      { scope: 'openai', atOnce: 20, rate: { starts: 300, perSeconds: 60 } },
      { scope: 'fal', atOnce: 10 },
      { scope: 'openai/gpt-image-2', atOnce: 5 },
      { scope: 'fal/fal-ai/x', rate: { starts: 7, perSeconds: 1 } },
      { scope: 'acme', rate: { starts: 1_000, perSeconds: 3_600 } },
    ])
  })

  it('has a default, which an empty variable does not switch off', () => {
    expect(rulesOf(undefined)).toEqual([
      { scope: 'openai', atOnce: 100 },
      { scope: 'fal', atOnce: 100 },
    ])
    expect(rulesOf('')).toEqual(rulesOf(undefined))
  })

  it.each([
    'openai',
    'openai=',
    'openai=0',
    'openai=-1',
    'openai=1.5',
    'openai=,3/s',
    'openai=3,',
    'openai=3,4',
    'openai=3/day',
    'openai=20 300/min',
    '=3',
    'openai/=3',
    'openai=3;fal=4',
    ' ',
  ])('refuses "%s" in one readable line that does not repeat it', (limits) => {
    expect(() => rulesOf(limits)).toThrow(
      /^PROVIDER_LIMITS: must be entries like openai=20,300\/min or openai\/gpt-image-2=5, with spaces between them$/,
    )
  })

  it('refuses two entries for the same', () => {
    expect(() => rulesOf('openai=3 fal=4 openai=5/s')).toThrow(/^PROVIDER_LIMITS: must name a provider or model once$/)
  })
})
