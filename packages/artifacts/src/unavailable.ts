// The error by which the engine knows that a store is away: the run is handed back instead of failed.
// Hides that it is built by FabriqueError's mark, because this package does not depend on the schema's.

/** What `FabriqueError.is(error, 'unavailable')` holds for; `message` is public. */
export function unavailable(message: string, cause: unknown): Error {
  const error = new Error(message, cause === undefined ? undefined : { cause })
  const fields = { code: 'unavailable', problems: [], context: {}, retryAfterS: undefined }
  return Object.assign(error, fields, { [Symbol.for('fabrique.error')]: true })
}
