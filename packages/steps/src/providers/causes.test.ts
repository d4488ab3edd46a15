import { describe, expect, it } from 'vitest'
import { causeOf, type Told } from './causes.ts'

const cause = (told: Partial<Told>, asked: string[] = []) => causeOf({ provider: 'Acme', ...told }, asked)

describe('the cause of a failed call', () => {
  it.each<[string, Partial<Told>, code: string, failureClass: string]>([
    ['a wrong key', { status: 401, message: 'Incorrect API key provided' }, 'provider-key', 'invalid'],
    ['a key that is named at 403', { status: 403, code: 'invalid_api_key' }, 'provider-key', 'invalid'],
    [
      'an empty account',
      { status: 403, message: 'User is locked. Reason: Exhausted balance.' },
      'provider-account',
      'invalid',
    ],
    [
      'a spent quota at 429',
      { status: 429, type: 'insufficient_quota', message: 'You exceeded your current quota.' },
      'provider-account',
      'invalid',
    ],
    [
      'a spent quota by its words alone',
      { status: 429, message: 'You exceeded your current quota, please check your plan and billing details.' },
      'provider-account',
      'invalid',
    ],
    ['a billing limit at 400', { status: 400, code: 'billing_hard_limit_reached' }, 'provider-account', 'invalid'],
    [
      'an organization that is not verified',
      { status: 403, message: 'Your organization must be verified to use the model `gpt-image-2`.' },
      'provider-account',
      'invalid',
    ],
    [
      'a region',
      {
        status: 403,
        code: 'unsupported_country_region_territory',
        message: 'Country, region, or territory not supported',
      },
      'provider-account',
      'invalid',
    ],
    ['payment required', { status: 402 }, 'provider-account', 'invalid'],
    [
      'a filter at 400',
      { status: 400, code: 'content_filter', message: 'The response was filtered' },
      'content-refused',
      'refused',
    ],
    [
      'a policy by its words',
      { status: 400, message: 'Your request was rejected by the safety system.' },
      'content-refused',
      'refused',
    ],
    [
      'a rate',
      {
        status: 429,
        code: 'rate_limit_exceeded',
        message: 'Rate limit reached for requests per min. See your plan and billing.',
      },
      'rate-limit',
      'rate_limit',
    ],
    [
      'an overload that says until when',
      { status: 503, type: 'server_error', retryAfterMs: 9 },
      'rate-limit',
      'rate_limit',
    ],
    ['a rate without words', { status: 429 }, 'rate-limit', 'rate_limit'],
    ['a context that is too long', { status: 400, code: 'context_length_exceeded' }, 'prompt-too-long', 'invalid'],
    ['a model that is not there', { status: 404, code: 'model_not_found' }, 'model-unknown', 'invalid'],
    [
      'a parameter',
      { status: 400, code: 'unknown_parameter', message: "Unknown parameter: 'qualty'." },
      'provider-rejected',
      'invalid',
    ],
    ['a fault', { status: 500, message: 'billing service is down' }, 'server', 'server'],
    ['an overload', { status: 529, type: 'overloaded_error' }, 'server', 'server'],
    ['a failure inside a success', { code: 'server_error' }, 'server', 'server'],
    ['a request inside a success', { code: 'invalid_image_format' }, 'provider-rejected', 'invalid'],
    [
      'a flagged prompt inside a success',
      { code: 'invalid_prompt', message: 'Your prompt was flagged as potentially violating our usage policy.' },
      'content-refused',
      'refused',
    ],
    ['a rate as a gateway names it inside a success', { code: 429, message: 'limit_rpm' }, 'rate-limit', 'rate_limit'],
    ['an empty account as a gateway names it inside a success', { code: 402 }, 'provider-account', 'invalid'],
    ['a fault as a gateway names it inside a success', { code: 502, message: 'it failed' }, 'server', 'server'],
    ['a request by its type inside a success', { type: 'invalid_request_error' }, 'provider-rejected', 'invalid'],
    [
      'a key without the right',
      { status: 401, message: 'Missing scopes: model.request' },
      'provider-account',
      'invalid',
    ],
    ['an address that is not let in', { status: 401, code: 'ip_not_authorized' }, 'provider-account', 'invalid'],
    ['a budget at 429', { status: 429, message: 'Budget has been exceeded!' }, 'provider-account', 'invalid'],
    ['a flagged prompt', { status: 400, message: 'This content was flagged.' }, 'content-refused', 'refused'],
    ['a model that is no more', { status: 410, message: 'The model has been retired' }, 'model-unknown', 'invalid'],
    [
      'a request that is larger than the limit of the rate',
      {
        status: 429,
        type: 'tokens',
        code: 'rate_limit_exceeded',
        message: 'Request too large for gpt-5 on tokens per min (TPM): Limit 30000, Requested 50000.',
      },
      'prompt-too-long',
      'invalid',
    ],
  ])('%s is told apart', (_, told, code, failureClass) => {
    expect(cause(told)).toMatchObject({ code, failureClass, billed: 'no' })
  })

  it.each([504, 524])('that a gateway gave up (%d) leaves open whether it is charged', (status) => {
    expect(cause({ status })).toMatchObject({ code: 'timeout', billed: 'unknown' })
  })

  it('is told with the parameter, the words and the remedy', () => {
    const { message, provider } = cause({
      status: 400,
      param: 'size',
      message: 'must be a multiple of 16.',
      requestId: 'req_1',
    })
    expect(message).toBe('Acme does not accept the request (HTTP 400) (size): must be a multiple of 16.')
    expect(provider).toEqual({ status: 400, param: 'size', message: 'must be a multiple of 16.', request_id: 'req_1' })
  })

  it('quotes neither the prompt nor keys nor control characters', () => {
    const prompt = 'a portrait of my neighbour in a red coat'
    const message = `\u001b[31mInvalid value 'portrait of my neighbour in a red' with sk-live-abcdef123456.\u0000\r\nEnd`
    const told = cause({ status: 400, message }, [prompt]).message
    expect(told).toContain("Invalid value '[…]' with [key]")
    expect(told).not.toMatch(/neighbour|abcdef|\p{Cc}/u)
  })

  it('is told without the page that a gateway shows to browsers', () => {
    const { message } = cause({ status: 502, message: '502 <html><head><title>Bad Gateway</title></head></html>' })
    expect(message).toBe('Acme answered with a fault of its own (HTTP 502).')
  })

  it.each(['key=abcdef123456', '"token": "abcdef123456"', 'Received API Key = sk-abcdef123456', 'bearer abcdef123456'])(
    'quotes no secret that is named: %s',
    (message) => {
      expect(cause({ status: 401, message }).message).not.toContain('abcdef')
    },
  )

  it('keeps the words of a refusal for admins', () => {
    const failure = cause({ status: 400, code: 'moderation_blocked', message: 'safety_violations=[violence]' })
    expect(failure.message).not.toContain('violence')
    expect(failure.provider?.message).toContain('violence')
  })

  it('is bounded, however much is said', () => {
    const said = 'x'.repeat(5_000_000)
    const failure = cause({ status: 400, code: said, message: said, param: said, requestId: said }, [said])
    expect(JSON.stringify(failure.provider).length).toBeLessThan(1_000)
    expect(failure.message.length).toBeLessThan(1_000)
  })
})
