// The order of waiting jobs of equal priority: organizations take turns, and each keeps its own order.
// Hides how BullMQ's score of a waiting job is used for that: its priority times a stride, plus a place.
import type { Redis } from 'ioredis'

/** BullMQ's score of a waiting job: its priority times this, plus a counter. */
export const PRIORITY_STRIDE = 2 ** 32
/** Places are below this, BullMQ's own counter is lifted above it: a job without a place comes last. */
const PLACES = PRIORITY_STRIDE / 2
/** How many jobs of a priority are searched for other organizations': the turns put those among the first. */
const LOOKED_AT_MAX = 64

/**
 * Start-time fair queueing: a job's place is one after its organization's last, and after the place of the first job
 * that waits. With A1 A2 A3 waiting at places 1 to 3, B1 and B2 get 2 and 3, which makes A1 A2 B1 A3 B2.
 * `KEYS`: the waiting jobs, BullMQ's counter, the prefix of the places. `ARGV`: priority, organization, job; repeated.
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
 * Puts at most `ARGV[1]` jobs of other organizations before all waiting jobs, best first; answers how many it found.
 * `KEYS`: the waiting jobs. `ARGV`: how many, the prefix of the jobs' keys, then the organizations to skip.
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

/** A BullMQ queue or worker. */
interface BullKeys {
  toKey(type: string): string
}

/** Gives waiting jobs their places among those of their priority. Active jobs stay as they are. */
export async function placeJobs(
  redis: Redis,
  lane: BullKeys,
  jobs: { jobId: string; priority: number; organizationId: string }[],
): Promise<void> {
  const keys = [lane.toKey('prioritized'), lane.toKey('pc'), lane.toKey('places')]
  const values = jobs.flatMap(({ jobId, priority, organizationId }) => [priority, organizationId, jobId])
  await redis.eval(PLACE, keys.length, ...keys, ...values)
}

/** Brings at most `count` waiting jobs of other organizations than these to the front; answers how many it brought. */
export async function bringOthersForward(
  redis: Redis,
  lane: BullKeys,
  organizationIds: string[],
  count: number,
): Promise<number> {
  return Number(await redis.eval(FORWARD, 1, lane.toKey('prioritized'), count, lane.toKey(''), ...organizationIds))
}

/** Wakes one worker that waits for a job: BullMQ notifies none when a job is put back. */
export async function wakeWorker(redis: Redis, lane: BullKeys): Promise<void> {
  await redis.zadd(lane.toKey('marker'), 0, '0')
}
