// Where requests may go that a user or provider named: public addresses only, however they are written.
// Hides the notations of addresses, and the check at connect time that rebinding names cannot get around.
import { lookup as lookupWithCallback } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import ipaddr from 'ipaddr.js'
import { Agent, buildConnector } from 'undici'

const CONNECT_TIMEOUT_MS = 10_000
/** A name server that is slower than this at registration says nothing; the check at connect decides. */
const LOOKUP_TIMEOUT_MS = 2_000
/** All that IANA has given out for the public internet. What lies outside embeds or stands for something else. */
const GLOBAL_V6 = ipaddr.IPv6.parseCIDR('2000::/3')

/** True for an address of the public internet; false for private, local, reserved, embedded and malformed ones. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.process(address)
  if (parsed.range() !== 'unicast') return false
  return parsed instanceof ipaddr.IPv4 || parsed.match(GLOBAL_V6)
}

/** A connection that was not made, because of where it would have gone. */
export class RefusedAddressError extends Error {
  override name = 'RefusedAddressError'

  constructor() {
    super('the address is not public')
  }
}

/**
 * A dispatcher for undici that connects only to addresses that `allows` (default: `isPublicAddress`). The address that
 * was checked is the one connected to. A name with one refused address among others is refused: it is an attack or an
 * accident. Requests reject with `RefusedAddressError`, or with it as their cause.
 */
export function createGuardedAgent(allows: (address: string) => boolean = isPublicAddress): Agent {
  const checkedLookup: LookupFunction = (hostname, options, callback) => {
    lookupWithCallback(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, [])
      const [first] = addresses
      if (first === undefined || !addresses.every(({ address }) => allows(address))) {
        return callback(new RefusedAddressError(), [])
      }
      if (options.all === true) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
  const connect = buildConnector({ timeout: CONNECT_TIMEOUT_MS, lookup: checkedLookup } as buildConnector.BuildOptions)
  return new Agent({
    connect(options, callback) {
      // No lookup is made for literals, so they are checked here.
      const host = options.hostname.replace(/^\[|\]$/g, '')
      if (isIP(host) !== 0 && !allows(host)) callback(new RefusedAddressError(), null)
      else connect(options, callback)
    },
  })
}

/**
 * Why a URL cannot be called from here, in words that say how to mend it, or null. A name that does not resolve now is
 * taken: it is looked at again when it is called. `allowPrivate` leaves out the checks of addresses, not of the form.
 */
export async function urlProblem(url: string, options: { allowPrivate?: boolean } = {}): Promise<string | null> {
  const parsed = URL.parse(url)
  if (parsed === null) return 'is not a URL; write it as https://host/path'
  if (!/^https?:$/.test(parsed.protocol)) return 'must begin with https:// or http://'
  if (parsed.username !== '' || parsed.password !== '') return 'must not hold a user name or password'
  if (options.allowPrivate === true) return null
  const host = parsed.hostname.replace(/^\[|\]$/g, '').replace(/(?<!\.)\.+$/, '')
  if (host === '') return 'names no host'
  const remedy = 'use one that is reachable from the internet'
  if (isIP(host) !== 0) return isPublicAddress(host) ? null : `leads to a private or reserved address; ${remedy}`
  if (/(^|\.)localhost$/i.test(host)) return `leads to this machine itself; ${remedy}`
  const addresses = await resolved(host)
  return addresses.every(isPublicAddress) ? null : `has a name of a private or reserved address; ${remedy}`
}

/** The addresses of a name; none where the name server does not say within two seconds. */
async function resolved(host: string): Promise<string[]> {
  const found = lookup(host, { all: true }).then(
    (entries) => entries.map(({ address }) => address),
    () => [],
  )
  return await Promise.race([found, delay(LOOKUP_TIMEOUT_MS, [], { ref: false })])
}
