// The order of waiting jobs of equal priority: organizations take turns, and each keeps its own order.
// Hides how BullMQ's score of a waiting job is used for that: its priority times a stride, plus a place.
import type { Redis } from 'ioredis'

/** BullMQ's score of a waiting job: its priority times this, plus a counter. */
export const PRIORITY_STRIDE = 2 ** 32
/** Places of organizations are below, BullMQ's own counter above: what has no place yet comes last. */
const PLACES = PRIORITY_STRIDE / 2
/** Waiting jobs of a priority that are looked at for one of another organization; there it is among the first. */
const LOOKED_AT_MAX = 64

/**
 * Start-time fair queueing. A job's place is one behind its organization's last, and never before the first that waits.
 * With A1 A2 A3 waiting at places 1 to 3, B1 and B2 come to 2 and 3: A1 A2 B1 A3 B2.
 * `KEYS`: the waiting jobs, BullMQ's counter, what the places are kept under. `ARGV`: priority, organization, job; again.
 */
const PLACE = `
local counter = redis.call('GET', KEYS[2])
if counter and tonumber(counter) < ${PLACES} then redis.call('SET', KEYS[2], ${PLACES}) end
local first, last = {}, {}
for i = 1, #ARGV, 3 do
  local priority, organization = ARGV[i], ARGV[i + 1]
  local base = priority * ${PRIORITY_STRIDE}
  local key = KEYS[3] .. ':' .. priority
  if not first[priority] then
    local head = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. base, '(' .. base + ${PLACES}, 'WITHSCORES', 'LIMIT', 0, 1)
    if head[2] then first[priority] = head[2] - base else
      first[priority] = 0
      redis.call('DEL', key)
    end
    last[priority] = {}
  end
  local place = last[priority][organization] or tonumber(redis.call('HGET', key, organization) or 0)
  place = math.max(place, first[priority]) + 1
  last[priority][organization] = place
  redis.call('ZADD', KEYS[1], 'XX', base + place, ARGV[i + 2])
end
for priority, places in pairs(last) do
  for organization, place in pairs(places) do redis.call('HSET', KEYS[3] .. ':' .. priority, organization, place) end
end`

/**
 * Puts jobs of other organizations before all that wait, best first, at most `ARGV[1]`; answers how many.
 * `KEYS`: the waiting jobs. `ARGV`: how many, what the jobs' own keys begin with, then the organizations to pass over.
 */
const FORWARD = `
local passed = {}
for i = 3, #ARGV do passed[ARGV[i]] = true end
local found, front, from = {}, nil, '-inf'
while #found < tonumber(ARGV[1]) do
  local head = redis.call('ZRANGEBYSCORE', KEYS[1], from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if not head[2] then break end
  local priority = math.floor(head[2] / ${PRIORITY_STRIDE})
  front = front or priority * ${PRIORITY_STRIDE}
  from = (priority + 1) * ${PRIORITY_STRIDE}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], head[2], '(' .. from, 'LIMIT', 0, ${LOOKED_AT_MAX})) do
    local data = redis.call('HGET', ARGV[2] .. id, 'data')
    local known, ids = pcall(cjson.decode, data or '')
    if known and not passed[ids.organization_id or ''] and #found < tonumber(ARGV[1]) then found[#found + 1] = id end
  end
end
for i, id in ipairs(found) do redis.call('ZADD', KEYS[1], front - ${LOOKED_AT_MAX} + i, id) end
return #found`

/** Of a BullMQ queue or worker. */
interface Named {
  toKey(type: string): string
}

/** Gives waiting jobs their places among those of their priority. One that is at work already stays as it is. */
export async function placeJobs(
  redis: Redis,
  lane: Named,
  jobs: { jobId: string; priority: number; organizationId: string }[],
): Promise<void> {
  const keys = [lane.toKey('prioritized'), lane.toKey('pc'), lane.toKey('places')]
  const values = jobs.flatMap(({ jobId, priority, organizationId }) => [priority, organizationId, jobId])
  await redis.eval(PLACE, keys.length, ...keys, ...values)
}

/** Brings at most `count` waiting jobs of other organizations than these to the front; answers how many there are. */
export async function bringOthersForward(
  redis: Redis,
  lane: Named,
  organizationIds: string[],
  count: number,
): Promise<number> {
  return Number(await redis.eval(FORWARD, 1, lane.toKey('prioritized'), count, lane.toKey(''), ...organizationIds))
}

/** Wakes one worker that waits for a job: BullMQ tells nobody of a job that was put back. */
export async function wakeWorker(redis: Redis, lane: Named): Promise<void> {
  await redis.zadd(lane.toKey('marker'), 0, '0')
}
